/* lexicon_put.c - a tokenizer.json as the keys of a GGUF file.
 *
 * A GGUF file names a kind of tokenizer and the rule that cuts text into words, where
 * tokenizer.json spells out each part. Which names are right is found by trying: the first with
 * which a tokenizer made of what would be written gives a probe the same tokens, and those the same
 * text, as the directory's own. Where none does in every respect (an added token that takes blanks
 * with it, a space before the first word only), the nearest is written for other programs, and the
 * files themselves beside it, which lexicon_open then goes by. */
#include <string.h>

#include "engine/load/lexicon.h"
#include "engine/text/pipeline.h"
#include "kernels/base/log.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"

#define KEY   "tokenizer.ggml."
#define BLANK "\xe2\x96\x81"

/* Names of rules of byte-level BPE, the usual ones first; of several for one rule, one. */
static const char *const rules[] = {
    "llama-bpe",   "qwen2",        "gpt-2",       "smollm",     "tekken",         "gpt-4o",
    "deepseek-v3", "deepseek-llm", "falcon",      "starcoder",  "deepseek-coder", "command-r",
    "olmo",        "dbrx",         "bloom",       "poro-chat",  "chatglm-bpe",    "viking",
    "superbpe",    "kimi-k2",      "qwen35",      "gpt-neox",   "youtu",          "tiny_aya",
    "afmoe",       "jais-2",       "bailingmoe",  "seed-coder", "laguna",         "exaone-moe",
    "minicpm5",    "chameleon",    "modern-bert", "ufakzeka"};

/* What a kind leaves open. */
static const struct variant {
    enum word_kind kind;
    const char *model;
    bool space, one_space, lowercase, strip_accents;
} variants[] = {
    {WORD_BPE, "llama", true, false, false, false},
    {WORD_BPE, "llama", false, false, false, false},
    {WORD_BPE, "gemma4", false, false, false, false},
    {WORD_UNIGRAM, "t5", true, true, false, false},
    {WORD_UNIGRAM, "t5", true, false, false, false},
    {WORD_UNIGRAM, "t5", false, false, false, false},
    {WORD_UNIGRAM, "t5", false, true, false, false},
    {WORD_PIECE, "bert", false, false, true, true},
    {WORD_PIECE, "bert", false, false, false, false},
    {WORD_PIECE, "bert", false, false, true, false},
    {WORD_PIECE, "bert", false, false, false, true},
};

static const char probe[] =
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n I've been 'told he's there, 'RE you sure? "
    "'M not sure I'll make it, 'D you like some tea? We'Ve a'lL 3 33 333 3333 33333 333333 "
    "3.3 3..3 3...3 x1y22z333 ?!?!? !!!!!! camelCase HTTPServer don't DON'T _a__b "
    "\xc3\xa9t\xc3\xa9 "
    "e\xcc\x81 \xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd9\x85\xd8\xb1\xd8\xad\xd8\xa8"
    "\xd8\xa7 \xe6\x88\x91\xe6\x83\xb3\xe5\x9c\xa8 \xe3\x82\xab\xe3\x82\xbf \xed\x95\x9c\xea\xb5"
    "\xad\xec\x96\xb4 \xf0\x9f\x98\x80\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x92\xbb (a/b) {c}=[d] "
    "#tag @me http://x.y/z?q=1&r=2 \r\n\r\n\treturn 0; // 12,345.67  \n"
    "a\xcc\x81\xcc\xa3z \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87 "
    "\xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1\xe0\xb8\xaa\xe0\xb8\x94\xe0\xb8\xb5 \xc7\x85iX "
    "\xc2\xbd\xc2\xb2 "
    "\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4 \xe4\xb8\x80\xe4\xba\x8c"
    "3\xe3\x81\x82\xe3\x82\xa2 "
    "\xe2\x80\xa8\xc2\xa0\xc2\xa0x\xe3\x80\x80 \xef\xbc\x81\xe3\x80\x82\xe2\x80\x9cq\xe2\x80\x9d "
    "'\xc5\xbf <a>\"b\"</a> \xce\x91\xcf\x82 $1,234 x=-1+2 10000000 ABCdefGHI\n \n\t\tx  y   ";

enum likeness { ALIEN, CLOSE, SAME }; /* CLOSE: plain text has the same tokens */

struct choice {
    struct tokenizer_spec spec; /* what a reader of the file would make of it */
    enum likeness likeness;
    int32_t sep; /* -1: none */
    float *score;
    struct bytes *token; /* respelled, or NULL */
    struct buf spelling; /* what they point into */
};

/* ---- comparing ------------------------------------------------------------------------------- */

static bool same_ids(const struct tokenizer *a, const struct tokenizer *b, struct bytes text,
                     unsigned flags, struct tokens *x)
{
    struct tokens y = {0};
    bool same;

    x->n = 0;
    same = tokenizer_encode(a, text, flags, x) == OK &&
           tokenizer_encode(b, text, flags, &y) == OK && x->n == y.n &&
           (y.n == 0 || memcmp(x->id, y.id, (size_t)y.n * sizeof *y.id) == 0);
    tokens_clear(&y);
    return same;
}

static bool same_text(const struct tokenizer *a, const struct tokenizer *b,
                      const struct tokens *ids)
{
    const struct tokenizer *t[2] = {a, b};
    struct buf text[2] = {{0}, {0}};
    bool same;

    for (int k = 0; k < 2; k++) {
        struct detok d = {0};

        for (int i = 0; i < ids->n; i++)
            detok_push(t[k], &d, ids->id[i], true, &text[k]);
        detok_flush(&d, &text[k]);
    }
    same = text[0].len == text[1].len &&
           (text[0].len == 0 || memcmp(text[0].data, text[1].data, text[0].len) == 0);
    buf_clear(&text[0]);
    buf_clear(&text[1]);
    return same;
}

/* Only of byte-level BPE, whose words are the text itself whatever made the tokenizer. */
static bool same_words(const struct tokenizer *a, const struct tokenizer *b)
{
    const struct bytes text = {probe, sizeof probe - 1};
    struct buf x = {0}, y = {0};
    bool same = tokenizer_words(a, text, &x) == OK && tokenizer_words(b, text, &y) == OK &&
                x.len == y.len && memcmp(x.data, y.data, x.len) == 0;

    buf_clear(&x);
    buf_clear(&y);
    return same;
}

/* Special and added tokens between words, with blanks and without. */
static void special_probe(const struct tokenizer_spec *s, struct buf *out)
{
    static const char *const around[] = {"a", " b ", "\n", "the", "  "};
    enum { MANY = 24 };
    int n = 0;

    for (int i = 0; i < s->n_vocab && n < MANY; i++) {
        bool written = s->type[i] == TOKEN_CONTROL || s->type[i] == TOKEN_USER;

        if (!written && !(s->added && s->added[i]))
            continue;
        buf_puts(out, n % 4 == 3 ? "" : around[n % 5]);
        buf_append(out, s->token[i].p, s->token[i].n);
        buf_puts(out, around[(n * 3 + 1) % 5]);
        n++;
    }
    buf_puts(out, "it's \n end");
}

/* A GGUF file has scores of 24 bits. */
static bool scores_fit(const struct tokenizer_spec *s)
{
    for (int i = 0; s->exact && i < s->n_vocab; i++) {
        if (s->exact[i] != (double)s->score[i])
            return false;
    }
    return true;
}

static enum likeness compare(const struct tokenizer_spec *s, const struct tokenizer *a,
                             const struct tokenizer *b)
{
    const struct bytes text = {probe, sizeof probe - 1};
    const struct bytes word = bytes_of("Hello  world ");
    struct buf special = {0};
    struct tokens ids = {0};
    enum likeness how = ALIEN;

    special_probe(s, &special);
    if ((!s->pipeline->bytes || same_words(a, b)) && same_ids(a, b, word, 0, &ids) &&
        same_ids(a, b, text, 0, &ids)) {
        struct bytes more = {special.data, special.len};
        /* No GGUF file says how a WordPiece decoder treats the blanks before commas. */
        bool decodes = s->pipeline->kind == WORD_PIECE || same_text(a, b, &ids);

        how = CLOSE;
        if (decodes && scores_fit(s) && same_ids(a, b, text, ENCODE_BOS, &ids) &&
            same_ids(a, b, more, 0, &ids) && same_ids(a, b, more, ENCODE_SPECIAL, &ids))
            how = SAME;
    }
    tokens_clear(&ids);
    buf_clear(&special);
    return how;
}

/* ---- what would be written ------------------------------------------------------------------- */

/* SentencePiece joins the pair whose token has the highest score: the merge that comes first. */
static float *score_by_merge(const struct tokenizer_spec *s)
{
    float *score = xmalloc(sizeof *score * (size_t)s->n_vocab);
    struct map *first = map_new((size_t)s->n_merges);
    struct buf whole = {0};

    for (int i = 0; i < s->n_merges; i++) {
        const struct bytes *m = &s->merge[s->merge_halves ? 2 * i : i];
        const char *blank = s->merge_halves ? NULL : memchr(m->p, ' ', m->n);
        size_t n = blank ? (size_t)(blank - m->p) : m->n;

        buf_reset(&whole);
        buf_append(&whole, m->p, n);
        if (s->merge_halves)
            buf_append(&whole, m[1].p, m[1].n);
        else if (blank)
            buf_append(&whole, blank + 1, m->n - n - 1);
        if (map_get(first, whole.data, whole.len, -1) < 0)
            map_put(first, whole.data, whole.len, i, -1);
    }
    for (int i = 0; i < s->n_vocab; i++)
        score[i] = -(float)map_get(first, s->token[i].p, s->token[i].n, s->n_merges);
    map_free(first);
    buf_clear(&whole);
    return score;
}

/* GGUF files mark what begins a word, where "##" marks what goes on with one. */
static void respell(struct choice *c)
{
    const struct tokenizer_spec *s = &c->spec;
    size_t at = 0;

    c->token = xmalloc(sizeof *c->token * (size_t)s->n_vocab);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < s->n_vocab; i++) {
            struct bytes t = s->token[i];
            bool plain = s->type[i] == TOKEN_NORMAL || s->type[i] == TOKEN_UNUSED;
            bool goes_on = plain && t.n > 2 && memcmp(t.p, "##", 2) == 0;
            size_t n = t.n - (goes_on ? 2 : 0) + (plain && !goes_on ? sizeof BLANK - 1 : 0);

            if (pass == 1) {
                c->token[i] = (struct bytes){c->spelling.data + at, n};
                at += n;
                continue;
            }
            buf_puts(&c->spelling, plain && !goes_on ? BLANK : "");
            buf_append(&c->spelling, t.p + (goes_on ? 2 : 0), t.n - (goes_on ? 2 : 0));
        }
    }
    c->spec.token = c->token;
}

static void choice_clear(struct choice *c)
{
    xfree(c->score);
    xfree(c->token);
    buf_clear(&c->spelling);
}

/* What lexicon_open makes of the keys that put_keys writes. */
static void plan(struct choice *c, const struct tokenizer_spec *s)
{
    struct tokenizer_spec *to = &c->spec;

    *c = (struct choice){.spec = *s, .sep = -1};
    to->pipeline = NULL;
    to->added = NULL;
    to->before = to->behind = NULL;
    to->n_before = to->n_behind = 0;
    to->bos = s->bos < 0 && s->n_before == 1 ? s->before[0] : s->bos;
    to->add_bos = s->n_before > 0 && s->before[0] == to->bos;
    to->add_eos = s->n_behind > 0 && s->behind[0] == s->eos;
    if (s->n_behind == 1 && !to->add_eos) {
        c->sep = s->behind[0];
        to->behind = s->behind;
        to->n_behind = 1;
    }
}

static void plan_variant(struct choice *c, const struct tokenizer_spec *s, const struct variant *v)
{
    plan(c, s);
    c->spec.model = v->model;
    c->spec.add_space_prefix = v->space;
    c->spec.one_space = v->one_space;
    c->spec.lowercase = v->lowercase;
    c->spec.strip_accents = v->strip_accents;
    if (strcmp(v->model, "llama") == 0)
        c->spec.score = c->score = score_by_merge(s);
    if (v->kind == WORD_PIECE)
        respell(c);
}

/* Keeps the better of the two. */
static void try(struct choice *best, struct choice *c, const struct tokenizer_spec *s,
                const struct tokenizer *t)
{
    struct tokenizer *made;

    if (tokenizer_new(&c->spec, &made) == OK) {
        c->likeness = compare(s, made, t);
        tokenizer_free(made);
    }
    if (!best->spec.model || c->likeness > best->likeness) {
        choice_clear(best);
        *best = *c;
    } else {
        choice_clear(c);
    }
}

static void choose(struct choice *best, const struct tokenizer_spec *s, const struct tokenizer *t)
{
    bool bpe = s->pipeline->kind == WORD_BPE && !s->pipeline->byte_fallback;
    struct choice c;

    for (size_t i = 0; bpe && i < sizeof rules / sizeof rules[0]; i++) {
        if (best->likeness == SAME)
            return;
        plan(&c, s);
        c.spec.model = "gpt2";
        c.spec.pre = rules[i];
        try(best, &c, s, t);
    }
    for (size_t i = 0; !s->pipeline->bytes && i < sizeof variants / sizeof variants[0]; i++) {
        if (best->likeness == SAME)
            return;
        if (variants[i].kind != s->pipeline->kind)
            continue;
        plan_variant(&c, s, &variants[i]);
        try(best, &c, s, t);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put_merges(const struct tokenizer_spec *s, struct gguf_writer *w)
{
    struct bytes *merge;
    struct buf text = {0};
    size_t at = 0;

    if (!s->merge_halves) {
        gguf_put_texts(w, "tokenizer.ggml.merges", s->merge, s->n_merges);
        return;
    }
    merge = xcalloc((size_t)s->n_merges, sizeof *merge);
    for (int i = 0; i < s->n_merges; i++) {
        buf_append(&text, s->merge[2 * i].p, s->merge[2 * i].n);
        buf_putc(&text, ' ');
        buf_append(&text, s->merge[2 * i + 1].p, s->merge[2 * i + 1].n);
    }
    for (int i = 0; i < s->n_merges; i++) {
        merge[i] = (struct bytes){text.data + at, s->merge[2 * i].n + 1 + s->merge[2 * i + 1].n};
        at += merge[i].n;
    }
    gguf_put_texts(w, "tokenizer.ggml.merges", merge, s->n_merges);
    buf_clear(&text);
    xfree(merge);
}

static void put_id(struct gguf_writer *w, const char *key, int32_t id)
{
    if (id >= 0)
        gguf_put_u32(w, key, (uint32_t)id);
}

/* Tokens that end a turn besides EOS: GGUF files have room for two. */
static int32_t turn_end(const struct tokenizer_spec *s, int which)
{
    for (int i = 0; i < s->n_ends; i++) {
        if (s->ends[i] != s->eos && s->ends[i] < s->n_vocab && which-- == 0)
            return s->ends[i];
    }
    return -1;
}

static void put_ids(const struct choice *c, struct gguf_writer *w)
{
    const struct tokenizer_spec *s = &c->spec;

    put_id(w, KEY "bos_token_id", s->bos);
    put_id(w, KEY "eos_token_id", s->eos);
    put_id(w, KEY "unknown_token_id", s->unk);
    put_id(w, KEY "eot_token_id", turn_end(s, 0));
    put_id(w, KEY "eom_token_id", turn_end(s, 1));
    put_id(w, KEY "seperator_token_id", c->sep); /* so programs look for it */
    gguf_put_bool(w, KEY "add_bos_token", s->add_bos);
    gguf_put_bool(w, KEY "add_eos_token", s->add_eos);
    gguf_put_bool(w, KEY "add_sep_token", c->sep >= 0);
}

static void put_keys(const struct choice *c, struct gguf_writer *w)
{
    const struct tokenizer_spec *s = &c->spec;
    bool bpe = strcmp(s->model, "gpt2") == 0 || strcmp(s->model, "gemma4") == 0;
    bool bert = strcmp(s->model, "bert") == 0;

    gguf_put_text(w, KEY "model", bytes_of(s->model));
    gguf_put_text(w, KEY "pre", bytes_of(s->pre ? s->pre : "default"));
    gguf_put_texts(w, KEY "tokens", s->token, s->n_vocab);
    gguf_put_i32s(w, KEY "token_type", s->type, s->n_vocab);
    if (s->score)
        gguf_put_f32s(w, KEY "scores", s->score, s->n_vocab);
    if (bpe)
        put_merges(s, w);
    put_ids(c, w);
    if (!bpe && !bert)
        gguf_put_bool(w, KEY "add_space_prefix", s->add_space_prefix);
    if (s->space_once)
        gguf_put_bool(w, LEXICON_LEGACY, false);
    if (strcmp(s->model, "t5") == 0 || s->one_space)
        gguf_put_bool(w, KEY "remove_extra_whitespaces", s->one_space);
    if (s->charsmap.n > 0)
        gguf_put_bytes(w, KEY "precompiled_charsmap", s->charsmap);
    if (bert) {
        gguf_put_bool(w, KEY "normalizer.lowercase", s->lowercase);
        gguf_put_bool(w, KEY "normalizer.strip_accents", s->strip_accents);
    }
}

enum status lexicon_put(void *to, const struct tokenizer_spec *s, const struct tokenizer *t)
{
    const struct lexicon_out *out = to;
    struct choice best = {0};

    if (s->pipeline)
        choose(&best, s, t);
    else /* it is a kind of GGUF files already */
        best = (struct choice){.spec = *s, .likeness = SAME, .sep = -1};
    if (!best.spec.model)
        return fail(ERR_UNSUPPORTED,
                    "tokenizer.json: a list of whole words has no kind in GGUF files");
    put_keys(&best, out->w);
    if (best.likeness != SAME) {
        gguf_put_text(out->w, LEXICON_JSON, out->files->tokenizer);
        gguf_put_text(out->w, LEXICON_CONFIG, out->files->config);
        gguf_put_text(out->w, LEXICON_SPECIAL, out->files->special);
        log_warn(
            "GGUF files have no name for this tokenizer: it stands beside the nearest, \"%s\", "
            "by which other programs may cut texts into other tokens",
            best.spec.pre ? best.spec.pre : best.spec.model);
    }
    choice_clear(&best);
    return OK;
}
