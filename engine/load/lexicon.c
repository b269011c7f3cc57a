/* lexicon.c - the tokenizer.* keys of a GGUF file as a tokenizer_spec, or the tokenizer files of a
 * Hugging Face directory.
 *
 * Only kinds and lengths of the keys are checked here; what the entries mean is the tokenizer's to
 * check. The spec borrows the file's bytes, and lives no longer than lexicon_open. */
#include "engine/load/lexicon.h"

#include <string.h>

#include "engine/load/hf_config.h"
#include "engine/text/loose.h"
#include "engine/text/tokenizer_model.h"
#include "kernels/base/log.h"

#define KEY "tokenizer.ggml."

int64_t lexicon_size(const struct checkpoint *c)
{
    const struct value *v = checkpoint_key(c, KEY "tokens");

    return v && v->kind == VALUE_ARRAY ? v->n : 0;
}

const struct value *lexicon_template(const struct checkpoint *c, const char *key)
{
    const struct value *v = checkpoint_key(c, key);

    return v && v->kind == VALUE_STRING && v->text.n ? v : NULL;
}

/* The files of a directory that has no tokenizer.json. */
static struct loose_files loose_of(const struct checkpoint *c)
{
    const struct value *type = checkpoint_key(c, "model_type");
    struct bytes model = hf_config_file(c, "tokenizer.model");
    struct loose_files l = {.vocab = hf_config_file(c, "vocab.json"),
                            .merges = hf_config_file(c, "merges.txt"),
                            .words = hf_config_file(c, "vocab.txt"),
                            .tekken = hf_config_file(c, "tekken.json")};

    if (ranks_are(model))
        l.ranks = model;
    if (type && type->kind == VALUE_STRING)
        l.network = type->text;
    return l;
}

bool lexicon_has(const struct checkpoint *c)
{
    struct loose_files l;

    if (c->format->names == NAMES_GGUF || hf_config_file(c, "tokenizer.json").n > 0 ||
        hf_config_file(c, "tokenizer.model").n > 0)
        return true;
    l = loose_of(c);
    return loose_has(&l);
}

static bool flag(const struct checkpoint *c, const char *key, bool absent)
{
    const struct value *v = checkpoint_key(c, key);

    return v && v->kind == VALUE_BOOL ? v->integer != 0 : absent;
}

static enum status token_id(const struct checkpoint *c, const char *key, int32_t absent,
                            const struct tokenizer_spec *s, int32_t *out)
{
    const struct value *v = checkpoint_key(c, key);

    *out = absent < s->n_vocab ? absent : -1;
    if (!v)
        return OK;
    if (v->kind != VALUE_INT)
        return fail(ERR_FORMAT, "%s: key %s is not an integer", c->path, key);
    if (v->integer == -1 || v->integer == UINT32_MAX) { /* "none", as some writers put it */
        *out = -1;
        return OK;
    }
    if (v->integer >= 0 && v->integer < s->n_vocab)
        *out = (int32_t)v->integer;
    else /* as other programs do: such files are about, and work */
        log_warn("%s: key %s is %lld and is not used: the vocabulary has %d tokens", c->path, key,
                 (long long)v->integer, s->n_vocab);
    return OK;
}

static enum status strings(const struct checkpoint *c, const char *key, int most,
                           struct bytes **out, int *n)
{
    const struct value *v = checkpoint_key(c, key);

    *n = 0;
    if (!v)
        return OK;
    if (v->kind != VALUE_ARRAY || v->elem != VALUE_STRING)
        return fail(ERR_FORMAT, "%s: key %s is not an array of strings", c->path, key);
    if (v->n > most)
        return fail(ERR_FORMAT, "%s: key %s has %lld elements, expected at most %d", c->path, key,
                    (long long)v->n, most);
    *out = xmalloc(((size_t)v->n + 1) * sizeof **out);
    *n = (int)v->n;
    checkpoint_strings(c, v, *out);
    return OK;
}

/* A numeric array with one element a token; NULL: absent. */
static enum status numbers(const struct checkpoint *c, const char *key, int n_vocab,
                           const struct value **out)
{
    const struct value *v = checkpoint_key(c, key);

    *out = NULL;
    if (!v)
        return OK;
    if (v->kind != VALUE_ARRAY || (v->elem != VALUE_INT && v->elem != VALUE_FLOAT))
        return fail(ERR_FORMAT, "%s: key %s is not an array of numbers", c->path, key);
    if (v->n != n_vocab)
        return fail(ERR_FORMAT, "%s: key %s has %lld elements, the vocabulary has %d tokens",
                    c->path, key, (long long)v->n, n_vocab);
    *out = v;
    return OK;
}

struct owned { /* what the spec points to and we free */
    struct bytes *token, *merge;
    float *score;
    int32_t *type;
    char *charsmap;
    int32_t end[2];
};

static enum status read_arrays(const struct checkpoint *c, struct tokenizer_spec *s,
                               struct owned *o)
{
    const struct value *score, *type;
    struct value e;

    TRY(strings(c, KEY "tokens", TOKENIZER_MOST, &o->token, &s->n_vocab));
    TRY(strings(c, KEY "merges", 4 * TOKENIZER_MOST, &o->merge, &s->n_merges));
    TRY(numbers(c, KEY "scores", s->n_vocab, &score));
    TRY(numbers(c, KEY "token_type", s->n_vocab, &type));
    if (score)
        o->score = xmalloc(((size_t)s->n_vocab + 1) * sizeof *o->score);
    if (type)
        o->type = xmalloc(((size_t)s->n_vocab + 1) * sizeof *o->type);
    for (int i = 0; score && i < s->n_vocab; i++)
        o->score[i] = checkpoint_at(c, score, i, &e) ? (float)e.number : 0;
    for (int i = 0; type && i < s->n_vocab; i++)
        o->type[i] = checkpoint_at(c, type, i, &e) && e.integer >= 0 && e.integer <= TOKEN_BYTE
                         ? (int32_t)e.integer
                         : TOKEN_NORMAL;
    /* Some converters call them plain text; then answers would not end. */
    for (int i = 0; type && i < s->n_vocab; i++)
        if ((o->type[i] == TOKEN_NORMAL || o->type[i] == TOKEN_USER) &&
            tokenizer_spells_end(o->token[i]))
            o->type[i] = TOKEN_CONTROL;
    s->token = o->token;
    s->merge = o->merge;
    s->score = o->score;
    s->type = o->type;
    return OK;
}

/* The file's string as one that ends in NUL, cut to the buffer. */
static const char *text_key(const struct checkpoint *c, const char *key, char *buf, size_t size)
{
    const struct value *v = checkpoint_key(c, key);
    size_t n;

    if (!v || v->kind != VALUE_STRING)
        return NULL;
    n = v->text.n < size - 1 ? v->text.n : size - 1;
    memcpy(buf, v->text.p, n);
    buf[n] = '\0';
    return buf;
}

/* The ids of files that do not say, as their writers meant. */
static const struct defaults {
    const char *model;
    int32_t bos, eos, unk, sep;
} defaults[] = {
    {"llama", 1, 2, 0, -1},
    {"bert", 101, -1, 100, 102},
    {"t5", -1, 1, 2, -1},
    {"plamo2", 1, 2, 0, -1},
};

static struct defaults defaults_of(const char *model)
{
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        if (strcmp(defaults[i].model, model) == 0)
            return defaults[i];
    return (struct defaults){model, -1, -1, -1, -1};
}

/* The ids that a file names, and what is put around a text. */
static enum status named_ids(const struct checkpoint *c, struct tokenizer_spec *s, int32_t *sep)
{
    struct tokenizer_policy p = tokenizer_default_policy(s->model, s->pre);
    struct defaults d = defaults_of(s->model);

    TRY(token_id(c, KEY "cls_token_id", d.bos, s, &s->bos));
    TRY(token_id(c, KEY "bos_token_id", s->bos, s, &s->bos));
    TRY(token_id(c, KEY "eos_token_id", d.eos, s, &s->eos));
    TRY(token_id(c, KEY "unknown_token_id", d.unk, s, &s->unk));
    TRY(token_id(c, KEY "separator_token_id", d.sep, s, sep));
    TRY(token_id(c, KEY "seperator_token_id", *sep, s, sep)); /* so most files spell it */
    s->add_bos = flag(c, KEY "add_bos_token", p.bos);
    s->add_eos = flag(c, KEY "add_eos_token", p.eos);
    if (flag(c, KEY "add_sep_token", p.sep) && *sep >= 0 && !s->add_eos) {
        s->behind = sep;
        s->n_behind = 1;
    }
    return OK;
}

/* What ends a turn but is not EOS. */
static enum status named_ends(const struct checkpoint *c, struct tokenizer_spec *s, struct owned *o)
{
    static const char *const key[] = {KEY "eot_token_id", KEY "eom_token_id"};

    s->ends = o->end;
    for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
        TRY(token_id(c, key[i], -1, s, &o->end[s->n_ends]));
        s->n_ends += o->end[s->n_ends] >= 0;
    }
    return OK;
}

static enum status read_charsmap(const struct checkpoint *c, struct owned *o, struct bytes *out)
{
    const struct value *v = checkpoint_key(c, KEY "precompiled_charsmap");
    struct value e;

    if (!v)
        return OK;
    if (v->kind != VALUE_ARRAY || v->elem != VALUE_INT || v->n > 1 << 28)
        return fail(ERR_FORMAT, "%s: key " KEY "precompiled_charsmap is not an array of bytes",
                    c->path);
    o->charsmap = xmalloc((size_t)v->n + 1);
    for (int64_t i = 0; i < v->n; i++)
        o->charsmap[i] = checkpoint_at(c, v, i, &e) ? (char)e.integer : 0;
    *out = (struct bytes){o->charsmap, (size_t)v->n};
    return OK;
}

static enum status read_spec(const struct checkpoint *c, struct owned *o, struct tokenizer **out)
{
    struct tokenizer_spec s = {0};
    char model[64], pre[64];
    enum status e;
    int32_t sep;
    bool spaces;

    s.model = text_key(c, KEY "model", model, sizeof model);
    s.pre = text_key(c, KEY "pre", pre, sizeof pre);
    if (!s.model || lexicon_size(c) == 0)
        return fail(ERR_FORMAT, "%s: it has no vocabulary (keys " KEY "model and tokens)", c->path);
    TRY(read_arrays(c, &s, o));
    TRY(named_ids(c, &s, &sep));
    TRY(named_ends(c, &s, o));
    TRY(read_charsmap(c, o, &s.charsmap));
    spaces = strcmp(s.model, "llama") == 0 || strcmp(s.model, "t5") == 0;
    s.add_space_prefix = flag(c, KEY "add_space_prefix", spaces);
    s.space_once = !flag(c, LEXICON_LEGACY, true);
    s.one_space = flag(c, KEY "remove_extra_whitespaces", false);
    s.lowercase = flag(c, KEY "normalizer.lowercase", strcmp(s.model, "whitespace") != 0);
    s.strip_accents = flag(c, KEY "normalizer.strip_accents", s.lowercase);
    e = tokenizer_new(&s, out);
    return e == OK ? OK : fail_in(e, "%s", c->path);
}

/* ---- of a Hugging Face directory ------------------------------------------------------------- */

/* The ids under a key, one or a list of them; those that are none are left out. */
static int read_ids(const struct checkpoint *c, const char *key, int32_t out[TOKENIZER_MAX_ENDS])
{
    const struct value *v = checkpoint_key(c, key);
    struct value e;
    int n = 0;

    for (int64_t i = 0; v && n < TOKENIZER_MAX_ENDS; i++) {
        if (v->kind == VALUE_INT && i == 0)
            e = *v;
        else if (!checkpoint_at(c, v, i, &e))
            break;
        if (e.kind == VALUE_INT && e.integer >= 0 && e.integer < INT32_MAX)
            out[n++] = (int32_t)e.integer;
    }
    return n;
}

/* Either `out` is filled, or what was read is written. */
static enum status open_hf(const struct checkpoint *c, struct tokenizer **out,
                           struct gguf_writer *w)
{
    const struct value *rows = checkpoint_key(c, "vocab_size");
    struct tokenizer_files f = {.tokenizer = hf_config_file(c, "tokenizer.json"),
                                .config = hf_config_file(c, "tokenizer_config.json"),
                                .special = hf_config_file(c, "special_tokens_map.json"),
                                .added = hf_config_file(c, "added_tokens.json")};
    struct lexicon_out to = {w, &f};
    struct loose_files loose = loose_of(c);
    struct buf made = {0};
    int32_t ends[TOKENIZER_MAX_ENDS], first[TOKENIZER_MAX_ENDS];
    enum status s;

    if (rows && rows->kind == VALUE_INT && rows->integer > 0 && rows->integer <= TOKENIZER_MOST)
        f.n_rows = (int)rows->integer;
    f.bos = read_ids(c, "bos_token_id", first) ? first[0] : -1;
    f.eos = read_ids(c, "eos_token_id", first) ? first[0] : -1;
    f.ends = ends;
    f.n_ends = read_ids(c, "generation.eos_token_id", ends);
    if (f.n_ends == 0)
        f.n_ends = read_ids(c, "eos_token_id", ends);
    if (f.tokenizer.n == 0 && !loose_has(&loose)) {
        struct tokenizer *t = NULL;

        f.tokenizer = hf_config_file(c, "tokenizer.model");
        s = tokenizer_model_read(&f, w ? lexicon_put : NULL, &to, w ? &t : out);
        tokenizer_free(t);
    } else {
        s = f.tokenizer.n ? OK : loose_write(&loose, &f, &made);
        if (made.len)
            f.tokenizer = (struct bytes){made.data, made.len};
        if (s == OK)
            s = w ? tokenizer_json_lend(&f, lexicon_put, &to) : tokenizer_json_read(&f, out);
        buf_clear(&made);
    }
    return s == OK ? OK : fail_in(s, "%s", c->path);
}

static struct bytes file_key(const struct checkpoint *c, const char *key)
{
    const struct value *v = checkpoint_key(c, key);

    return v && v->kind == VALUE_STRING ? v->text : (struct bytes){"", 0};
}

/* A GGUF file that carries tokenizer.json. */
static enum status open_carried(const struct checkpoint *c, struct tokenizer **out)
{
    struct tokenizer_files f = {.tokenizer = file_key(c, LEXICON_JSON),
                                .config = file_key(c, LEXICON_CONFIG),
                                .special = file_key(c, LEXICON_SPECIAL)};
    int64_t n_vocab = lexicon_size(c);
    static const char *const key[] = {KEY "eos_token_id", KEY "eot_token_id", KEY "eom_token_id"};
    int32_t bos[TOKENIZER_MAX_ENDS], end[3][TOKENIZER_MAX_ENDS], ends[3];

    f.n_rows = n_vocab <= TOKENIZER_MOST ? (int)n_vocab : 0;
    f.bos = read_ids(c, KEY "bos_token_id", bos) ? bos[0] : -1;
    for (int i = 0; i < 3; i++) {
        if (read_ids(c, key[i], end[i]))
            ends[f.n_ends++] = end[i][0];
    }
    f.eos = checkpoint_key(c, key[0]) && f.n_ends ? ends[0] : -1;
    f.ends = ends;
    return tokenizer_json_read(&f, out);
}

enum status lexicon_open(const struct checkpoint *c, struct tokenizer **out)
{
    struct owned o = {0};
    enum status s;

    if (c->format->names == NAMES_HF)
        return open_hf(c, out, NULL);
    /* Other programs write it too, with parts of which we may not know all. */
    if (checkpoint_key(c, LEXICON_JSON) && open_carried(c, out) == OK)
        return OK;
    s = read_spec(c, &o, out);
    xfree(o.token);
    xfree(o.merge);
    xfree(o.score);
    xfree(o.type);
    xfree(o.charsmap);
    return s;
}

enum status lexicon_write(const struct checkpoint *c, struct gguf_writer *w)
{
    return open_hf(c, NULL, w);
}
