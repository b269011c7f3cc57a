/* tokenizer_json.c - tokenizer.json as a tokenizer_spec: the model's vocabulary and merges, the
 * added tokens, what the post-processor puts around a text; the other parts are json_parts.c's.
 *
 * Where files disagree Transformers decides: add_bos_token and add_eos_token of
 * tokenizer_config.json, when they are written there, come before the post-processor. Nothing here
 * outlives tokenizer_json_read but what tokenizer_new copied. */
#include "engine/text/tokenizer_json.h"

#include <string.h>

#include "engine/text/decoder.h"
#include "engine/text/json_parts.h"
#include "engine/text/normalizer.h"
#include "engine/text/pipeline.h"
#include "engine/text/splitter.h"
#include "kernels/base/json.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"

enum {
    MAX_GAPS = 1 << 16, /* ids that no token has, beyond as many as there are tokens */
    MAX_ROWS = TOKENIZER_MOST
};

struct reading {
    const struct tokenizer_files *files;
    struct arena arena;
    const struct json *root, *model, *config, *special;
    bool hides_nul;  /* see show_nul */
    struct map *ids; /* token -> id */
    struct tokenizer_spec spec;
    struct pipeline_spec parts;
    struct bytes *token, *merge; /* what the spec points to */
    float *score;
    double *exact;
    int32_t *type;
    uint8_t *added;
    int32_t before[TOKENIZER_MAX_AROUND], behind[TOKENIZER_MAX_AROUND];
};

/* --- NUL --- */

/* A token may be, or have, a NUL, which JSON trees here do not take: it goes in as U+FFFE, which is
 * no character, and is itself again in tokens and merges. */
static const char NUL_AS[] = "\xef\xbf\xbe";

static struct bytes show_nul(struct reading *r, struct bytes s)
{
    if (!r->hides_nul || !memmem(s.p, s.n, NUL_AS, 3))
        return s;
    char *copy = arena_strndup(&r->arena, s.p, s.n);
    size_t n = 0;
    for (size_t i = 0; i < s.n; n++) {
        bool nul = s.n - i >= 3 && memcmp(s.p + i, NUL_AS, 3) == 0;
        copy[n] = nul ? 0 : s.p[i];
        i += nul ? 3 : 1;
    }
    return (struct bytes){copy, n};
}

/* --- the vocabulary --- */

static enum status set_token(struct reading *r, struct bytes text, int64_t id, enum token_type type)
{
    if (id < 0 || id >= r->spec.n_vocab)
        return fail(ERR_FORMAT, "token '%.*s' has id %lld, which is not 0 to %d",
                    (int)(text.n < 64 ? text.n : 64), text.p, (long long)id, r->spec.n_vocab - 1);
    text = show_nul(r, text);
    r->token[id] = text;
    r->type[id] = type;
    map_put(r->ids, text.p, text.n, (int32_t)id, -1);
    return OK;
}

static int64_t id_of(const struct json *v)
{
    int64_t id;
    return json_integer(v, &id) ? id : -1;
}

/* Grows the vocabulary so that `id` is one; refused when most ids would be nobody's. */
static enum status note_id(int64_t id, int64_t n_tokens, int64_t *n)
{
    if (id < 0 || id >= 2 * n_tokens + MAX_GAPS)
        return fail(ERR_FORMAT, "a token has id %lld, but there are %lld tokens", (long long)id,
                    (long long)n_tokens);
    *n = id >= *n ? id + 1 : *n;
    return OK;
}

static const struct json *config_tokens(const struct reading *r)
{
    const struct json *v = json_get(r->config, "added_tokens_decoder");
    return json_is(v, JSON_OBJECT) ? v : NULL;
}

static bool key_id(const char *key, int64_t *id)
{
    *id = 0;
    for (const char *p = key; *p; p++) {
        if (*p < '0' || *p > '9' || *id > MAX_ROWS)
            return false;
        *id = *id * 10 + (*p - '0');
    }
    return *key != 0;
}

static enum status count_tokens(struct reading *r, const struct json *vocab)
{
    const struct json *added = json_get(r->root, "added_tokens"), *more = config_tokens(r);
    bool list = json_is(vocab, JSON_ARRAY);
    if (!list && !json_is(vocab, JSON_OBJECT))
        return fail(ERR_FORMAT, "the model has no \"vocab\"");
    int64_t n = 0, id,
            n_tokens = vocab->count + (added ? added->count : 0) + (more ? more->count : 0);
    for (const struct json *v = vocab->first; !list && v; v = v->next)
        TRY(note_id(id_of(v), n_tokens, &n));
    n = list ? vocab->count : n;
    for (const struct json *v = json_is(added, JSON_ARRAY) ? added->first : NULL; v; v = v->next)
        TRY(note_id(id_of(json_get(v, "id")), n_tokens, &n));
    for (const struct json *v = more ? more->first : NULL; v; v = v->next)
        if (key_id(v->key, &id))
            TRY(note_id(id, n_tokens, &n));
    if (r->files->n_rows > MAX_ROWS)
        return fail(ERR_FORMAT, "%d rows of embeddings", r->files->n_rows);
    n = n < r->files->n_rows ? r->files->n_rows : n;
    r->spec.n_vocab = (int)n;
    r->ids = map_new((size_t)n_tokens);
    r->token = xcalloc((size_t)n + 1, sizeof *r->token);
    r->type = xcalloc((size_t)n + 1, sizeof *r->type);
    r->added = xcalloc((size_t)n + 1, 1);
    for (int64_t i = 0; i < n; i++) {
        r->token[i] = (struct bytes){"", 0};
        r->type[i] = TOKEN_UNUSED;
    }
    return OK;
}

/* A unigram model's: [["token", score], ...]. */
static enum status read_scores(struct reading *r, const struct json *vocab)
{
    int64_t id = 0;
    r->score = xcalloc((size_t)r->spec.n_vocab + 1, sizeof *r->score);
    r->exact = xcalloc((size_t)r->spec.n_vocab + 1, sizeof *r->exact);
    for (const struct json *v = vocab->first; v; v = v->next, id++) {
        const struct json *token = json_at(v, 0), *score = json_at(v, 1);
        if (!json_is(token, JSON_STRING) || !json_is(score, JSON_NUMBER))
            return fail(ERR_FORMAT, "token %lld is not [text, score]", (long long)id);
        TRY(set_token(r, token->text, id, TOKEN_NORMAL));
        r->exact[id] = score->number;
        r->score[id] = (float)score->number;
    }
    r->spec.score = r->score;
    r->spec.exact = r->exact;
    return OK;
}

static enum status read_vocab(struct reading *r)
{
    const struct json *vocab = json_get(r->model, "vocab");
    TRY(count_tokens(r, vocab));
    if (json_is(vocab, JSON_ARRAY))
        TRY(read_scores(r, vocab));
    for (const struct json *v = vocab->first; json_is(vocab, JSON_OBJECT) && v; v = v->next)
        TRY(set_token(r, bytes_of(v->key), id_of(v), TOKEN_NORMAL));
    r->spec.token = r->token;
    r->spec.type = r->type;
    r->spec.added = r->added;
    for (int i = 0; r->parts.byte_fallback && i < r->spec.n_vocab; i++)
        if (r->type[i] == TOKEN_NORMAL && fallback_byte(r->token[i]) >= 0)
            r->type[i] = TOKEN_BYTE;
    return OK;
}

static enum status add_token(struct reading *r, const struct json *v, int64_t id)
{
    struct bytes text = json_text(v, "content", "");
    if (text.n == 0)
        return OK;
    bool special = json_flag(v, "special", false);
    bool outside = map_get(r->ids, text.p, text.n, -1) < 0;
    TRY(set_token(r, text, id, special ? TOKEN_CONTROL : TOKEN_USER));
    r->added[id] = (uint8_t)((json_flag(v, "lstrip", false) ? ADDED_LSTRIP : 0) |
                             (json_flag(v, "rstrip", false) ? ADDED_RSTRIP : 0) |
                             (json_flag(v, "single_word", false) ? ADDED_SINGLE : 0) |
                             (outside ? ADDED_OUTSIDE : 0) |
                             (json_flag(v, "normalized", !special) ? ADDED_NORMALIZED : 0));
    return OK;
}

static enum status read_added(struct reading *r)
{
    const struct json *added = json_get(r->root, "added_tokens"), *more = config_tokens(r);
    int64_t id;
    for (const struct json *v = json_is(added, JSON_ARRAY) ? added->first : NULL; v; v = v->next)
        TRY(add_token(r, v, id_of(json_get(v, "id"))));
    for (const struct json *v = more ? more->first : NULL; v; v = v->next)
        if (key_id(v->key, &id) && r->type[id] == TOKEN_UNUSED)
            TRY(add_token(r, v, id));
    return OK;
}

/* --- the model --- */

static enum status read_merges(struct reading *r)
{
    const struct json *merges = json_get(r->model, "merges");
    if (!json_is(merges, JSON_ARRAY))
        return fail(ERR_FORMAT, "the model has no \"merges\"");
    bool halves = json_is(merges->first, JSON_ARRAY);
    r->merge = xcalloc((size_t)merges->count * 2 + 1, sizeof *r->merge);
    size_t n = 0;
    for (const struct json *v = merges->first; v; v = v->next) {
        const struct json *left = halves ? json_at(v, 0) : v, *right = halves ? json_at(v, 1) : v;
        if (!json_is(left, JSON_STRING) || !json_is(right, JSON_STRING))
            return fail(ERR_FORMAT, "merge %zu is not two tokens", halves ? n / 2 : n);
        r->merge[n++] = show_nul(r, left->text);
        if (halves)
            r->merge[n++] = show_nul(r, right->text);
    }
    r->spec.merge = r->merge;
    r->spec.merge_halves = halves;
    r->spec.n_merges = merges->count;
    return OK;
}

/* Old files do not say the model's type. */
static struct bytes model_type(const struct json *model)
{
    if (json_is(json_get(model, "type"), JSON_STRING))
        return json_get(model, "type")->text;
    if (json_get(model, "merges"))
        return bytes_of("BPE");
    if (json_is(json_get(model, "vocab"), JSON_ARRAY))
        return bytes_of("Unigram");
    return bytes_of(json_get(model, "continuing_subword_prefix") ? "WordPiece" : "WordLevel");
}

static enum status read_model(struct reading *r)
{
    static const char *const types[] = {[WORD_BPE] = "BPE",
                                        [WORD_UNIGRAM] = "Unigram",
                                        [WORD_PIECE] = "WordPiece",
                                        [WORD_LEVEL] = "WordLevel"};
    struct pipeline_spec *p = &r->parts;
    struct bytes type = model_type(r->model);
    int64_t n;
    size_t i = 0;
    while (i < sizeof types / sizeof types[0] && !bytes_equal(type, types[i]))
        i++;
    if (i == sizeof types / sizeof types[0])
        return fail(ERR_UNSUPPORTED,
                    "a model of type '%.*s' is not supported; known are BPE, Unigram, WordPiece, "
                    "WordLevel",
                    (int)(type.n < 64 ? type.n : 64), type.p);
    const struct json *dropout = json_get(r->model, "dropout");
    if (json_is(dropout, JSON_NUMBER) && dropout->number != 0)
        return fail(ERR_UNSUPPORTED, "the model has dropout %s: its tokens would be random",
                    dropout->text.p);
    p->kind = (enum word_kind)i;
    p->whole_word = json_flag(r->model, "ignore_merges", false);
    p->byte_fallback = json_flag(r->model, "byte_fallback", false);
    p->fuse_unk = json_flag(r->model, "fuse_unk", false);
    p->prefix = json_text(r->model, "continuing_subword_prefix", i == WORD_PIECE ? "##" : "");
    p->suffix = json_text(r->model, "end_of_word_suffix", "");
    p->max_chars =
        json_integer(json_get(r->model, "max_input_chars_per_word"), &n) && n > 0 && n < MAX_ROWS
            ? (int)n
            : 100;
    TRY(read_vocab(r));
    TRY(read_added(r));
    if (i == WORD_BPE)
        TRY(read_merges(r));
    struct bytes unk = json_text(r->model, "unk_token", "");
    int64_t unk_id =
        i == WORD_UNIGRAM ? id_of(json_get(r->model, "unk_id")) : map_get(r->ids, unk.p, unk.n, -1);
    if (unk_id >= r->spec.n_vocab)
        return fail(ERR_FORMAT, "the unknown token is %lld", (long long)unk_id);
    r->spec.unk = (int32_t)(unk_id < 0 ? -1 : unk_id);
    if (unk_id >= 0 && r->type[unk_id] != TOKEN_USER)
        r->type[unk_id] = TOKEN_UNKNOWN;
    return OK;
}

/* --- what is put around a text --- */

static enum status put_around(struct reading *r, bool behind, int64_t id)
{
    int *n = behind ? &r->spec.n_behind : &r->spec.n_before;
    if (*n == TOKENIZER_MAX_AROUND)
        return fail(ERR_UNSUPPORTED, "the post_processor adds more than %d tokens on one side",
                    TOKENIZER_MAX_AROUND);
    if (id < 0 || id >= r->spec.n_vocab)
        return fail(ERR_FORMAT, "the post_processor adds token %lld", (long long)id);
    (behind ? r->behind : r->before)[(*n)++] = (int32_t)id;
    return OK;
}

static enum status read_template(struct reading *r, const struct json *p)
{
    const struct json *single = json_get(p, "single"), *known = json_get(p, "special_tokens");
    bool behind = false;
    if (!json_is(single, JSON_ARRAY))
        return fail(ERR_FORMAT, "post_processor TemplateProcessing has no \"single\"");
    for (const struct json *v = single->first; v; v = v->next) {
        const struct json *token = json_get(v, "SpecialToken");
        if (!token) {
            behind = true;
            continue;
        }
        struct bytes name = json_text(token, "id", "");
        const struct json *ids = json_get(json_get(known, name.p), "ids");
        if (!json_is(ids, JSON_ARRAY))
            return fail(ERR_FORMAT,
                        "post_processor TemplateProcessing: '%s' is not among its "
                        "special_tokens",
                        name.p);
        for (const struct json *id = ids->first; id; id = id->next)
            TRY(put_around(r, behind, id_of(id)));
    }
    return OK;
}

static enum status read_post(struct reading *r, const struct json *p)
{
    if (!p || p->type == JSON_NULL)
        return OK;
    struct bytes type = json_text(p, "type", "");
    if (bytes_equal(type, "Sequence")) {
        const struct json *list = json_get(p, "processors");
        for (const struct json *v = json_is(list, JSON_ARRAY) ? list->first : NULL; v; v = v->next)
            TRY(read_post(r, v));
        return OK;
    }
    if (bytes_equal(type, "ByteLevel")) /* about offsets only */
        return OK;
    if (bytes_equal(type, "TemplateProcessing"))
        return read_template(r, p);
    if (bytes_equal(type, "BertProcessing") || bytes_equal(type, "RobertaProcessing")) {
        TRY(put_around(r, false, id_of(json_at(json_get(p, "cls"), 1))));
        return put_around(r, true, id_of(json_at(json_get(p, "sep"), 1)));
    }
    return fail(ERR_UNSUPPORTED,
                "a post_processor of type '%.*s' is not supported; known are Sequence, ByteLevel, "
                "TemplateProcessing, BertProcessing, RobertaProcessing",
                (int)(type.n < 64 ? type.n : 64), type.p);
}

/* "bos_token": a string, or an added token with its "content". */
static int32_t named_token(const struct reading *r, const char *key, int32_t absent)
{
    const struct json *const where[] = {r->config, r->special};
    for (int i = 0; i < 2; i++) {
        const struct json *v = json_get(where[i], key);
        v = json_is(v, JSON_OBJECT) ? json_get(v, "content") : v;
        int32_t id = json_is(v, JSON_STRING) ? map_get(r->ids, v->text.p, v->text.n, -1) : -1;
        if (id >= 0)
            return id;
    }
    return absent >= 0 && absent < r->spec.n_vocab ? absent : -1;
}

/* Makes the ids on one side agree with add_bos_token or add_eos_token, when that is written. */
static void apply_policy(const struct reading *r, const char *key, int32_t id, int32_t *around,
                         int *n)
{
    const struct json *v = json_get(r->config, key);
    int at = 0;
    if (id < 0 || !json_is(v, JSON_BOOL))
        return;
    while (at < *n && around[at] != id)
        at++;
    if (v->boolean && at == *n && *n < TOKENIZER_MAX_AROUND) {
        bool first = around == r->before;
        memmove(around + first, around, (size_t)(first ? *n : 0) * sizeof *around);
        around[first ? 0 : *n] = id;
        (*n)++;
    } else if (!v->boolean && at < *n) {
        memmove(around + at, around + at + 1, (size_t)(*n - at - 1) * sizeof *around);
        (*n)--;
    }
}

static enum status read_around(struct reading *r)
{
    const struct json *post = json_get(r->root, "post_processor");
    TRY(read_post(r, post));
    int32_t first = r->spec.n_before ? r->before[0] : -1;
    r->spec.bos = named_token(r, "bos_token", r->files->bos >= 0 ? r->files->bos : first);
    r->spec.eos = named_token(r, "eos_token", r->files->eos);
    apply_policy(r, "add_bos_token", r->spec.bos, r->before, &r->spec.n_before);
    apply_policy(r, "add_eos_token", r->spec.eos, r->behind, &r->spec.n_behind);
    /* These classes of Transformers put BOS unless told not to. */
    struct bytes class = json_text(r->config, "tokenizer_class", "");
    bool puts = (class.n > 5 && memcmp(class.p, "Llama", 5) == 0) ||
                (class.n > 5 && memcmp(class.p, "Gemma", 5) == 0);
    bool silent = !post || post->type == JSON_NULL;
    if (puts && silent && r->spec.bos >= 0 && json_flag(r->config, "add_bos_token", true) &&
        r->spec.n_before == 0)
        TRY(put_around(r, false, r->spec.bos));
    r->spec.before = r->before;
    r->spec.behind = r->behind;
    return OK;
}

/* --- all --- */

static enum status read_parts(struct reading *r)
{
    struct pipeline_spec *p = &r->parts;
    p->normalizer = normalizer_new();
    p->splitter = splitter_new();
    p->decoder = decoder_new();
    TRY(json_normalizer(json_get(r->root, "normalizer"), p->normalizer));
    TRY(json_splitter(json_get(r->root, "pre_tokenizer"), p->splitter));
    TRY(json_decoder(json_get(r->root, "decoder"), p->decoder));
    p->bytes = p->kind == WORD_BPE && !p->byte_fallback && splitter_drop_bytes(p->splitter);
    return OK;
}

static enum status parse(struct reading *r, struct bytes text, const char *name,
                         const struct json **out)
{
    if (text.n == 0)
        return OK;
    char *copy = memmem(text.p, text.n, "\\u0000", 6) ? json_hide_nul(text) : NULL;
    r->hides_nul = r->hides_nul || copy;
    enum status s = json_parse(&r->arena, copy ? copy : text.p, text.n, out);
    xfree(copy);
    return s == OK ? OK : fail_in(s, "%s", name);
}

static enum status read_all(struct reading *r, struct tokenizer **out)
{
    TRY(parse(r, r->files->config, "tokenizer_config.json", &r->config));
    TRY(parse(r, r->files->special, "special_tokens_map.json", &r->special));
    TRY(parse(r, r->files->tokenizer, "tokenizer.json", &r->root));
    r->model = json_get(r->root, "model");
    enum status s =
        json_is(r->model, JSON_OBJECT) ? OK : fail(ERR_FORMAT, "there is no \"model\" in it");
    s = s == OK ? read_model(r) : s;
    s = s == OK ? read_around(r) : s;
    s = s == OK ? read_parts(r) : s;
    s = s == OK ? tokenizer_new(&r->spec, out) : s;
    return s == OK ? OK : fail_in(s, "tokenizer.json");
}

static enum status read_files(const struct tokenizer_files *f, tokenizer_json_use *use, void *ctx,
                              struct tokenizer **out)
{
    struct buf charsmap = {0};
    struct reading r = {.files = f, .spec = {.bos = -1, .eos = -1, .unk = -1}};
    r.spec.ends = f->ends;
    r.spec.n_ends = f->n_ends;
    arena_init(&r.arena, 0);
    r.spec.pipeline = &r.parts;
    enum status s = read_all(&r, out);
    if (s == OK && use)
        s = json_charsmap(json_get(r.root, "normalizer"), &charsmap);
    r.spec.charsmap = (struct bytes){charsmap.data, charsmap.len};
    if (s == OK && use)
        s = use(ctx, &r.spec, *out);
    buf_clear(&charsmap);
    normalizer_free(r.parts.normalizer); /* what tokenizer_new has not taken */
    splitter_free(r.parts.splitter);
    decoder_free(r.parts.decoder);
    map_free(r.ids);
    xfree(r.token);
    xfree(r.merge);
    xfree(r.score);
    xfree(r.exact);
    xfree(r.type);
    xfree(r.added);
    arena_clear(&r.arena);
    return s;
}

enum status tokenizer_json_read(const struct tokenizer_files *f, struct tokenizer **out)
{
    return read_files(f, NULL, NULL, out);
}

enum status tokenizer_json_lend(const struct tokenizer_files *f, tokenizer_json_use *use, void *ctx)
{
    struct tokenizer *t = NULL;
    enum status s = read_files(f, use, ctx, &t);
    tokenizer_free(t);
    return s;
}
