/* tokenizer.c - what all kinds of tokenizers share: checking a file's lists, splitting off the
 * tokens that are written as such, BOS and EOS, and decoding.
 *
 * Invariant: a tokenizer never changes after tokenizer_new. What encoding needs to write to (the
 * matcher, the cache of words) is made for each call and sized to its text. */
#include "engine/text/tokenizer.h"

#include <string.h>

#include "engine/text/decoder.h"
#include "engine/text/kind.h"
#include "engine/text/normalizer.h"
#include "engine/text/pipeline.h"
#include "engine/text/special.h"
#include "engine/text/splitter.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

/* clang-format off */
/* Spellings that end a turn in some family, from the models' generation_config.json. */
static const char *const end_spelling[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>",
    "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>", "<turn|>", "<|calls|>", "<|flush|>",
    "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    /* These may be text of a page or a program as well: by type alone. */
    "<EOT>", "_<EOT>", "[EOT]", "</s>", "<eos>", "[EOS]", "[e~[",
};
/* clang-format on */
enum { N_SPELLINGS = sizeof end_spelling / sizeof end_spelling[0], MAY_BE_TEXT = 7 };
enum { MAX_ENDS = 1 + N_SPELLINGS };

struct pieces { /* a text for each token */
    char *text;
    uint32_t *at; /* [n + 1] */
};

struct tokenizer {
    vocab_spell *spell;
    struct pipeline *pipeline;
    struct vocab vocab;
    struct special special;
    struct decoder *decoder; /* NULL: tokens are spelled as they are read */
    struct pieces middle,
        first; /* with a decoder: what tokens are, and are as the first of a text */
    int32_t bos, eos;
    int32_t before[TOKENIZER_MAX_AROUND], behind[TOKENIZER_MAX_AROUND];
    int n_before, n_behind;
    bool drops_space; /* decoding: the first piece loses the space that encoding put there */
    int32_t end[MAX_ENDS + TOKENIZER_MAX_ENDS];
    int n_ends;
};

/* From so many bytes on the list gets room for a token a byte at once: to grow a list of megabytes
 * is to move it, while pages that are never touched cost nothing. */
enum { LARGE_TEXT = 1 << 19 };

/* --- token lists --- */

void tokens_reserve(struct tokens *t, size_t more)
{
    size_t need = (size_t)t->n + more;
    if (need <= (size_t)t->cap)
        return;
    size_t cap = t->cap ? 2 * (size_t)t->cap : 64;
    cap = cap < need ? need : cap;
    t->cap = cap > INT32_MAX ? INT32_MAX : (int)cap;
    t->id = xrealloc(t->id, (size_t)t->cap * sizeof *t->id);
}

void tokens_push(struct tokens *t, int32_t id)
{
    if (t->n == t->cap)
        tokens_reserve(t, 1);
    t->id[t->n++] = id;
}

void tokens_clear(struct tokens *t)
{
    xfree(t->id);
    *t = (struct tokens){0};
}

/* --- making one --- */

static enum status check_id(const struct tokenizer_spec *spec, const char *name, int32_t id)
{
    if (id < -1 || id >= spec->n_vocab)
        return fail(ERR_FORMAT, "tokenizer: the %s token is %d, but there are %d tokens", name, id,
                    spec->n_vocab);
    return OK;
}

static void add_end(struct tokenizer *t, int32_t id)
{
    if (id >= 0 && !tokenizer_is_end(t, id))
        t->end[t->n_ends++] = id;
}

static void find_ends(struct tokenizer *t)
{
    /* Where <|return|> and <|call|>, or Solar's pair, end turns, <|end|> only ends one message of
     * several. */
    bool harmony = (tokenizer_find(t, "<|return|>") >= 0 && tokenizer_find(t, "<|call|>") >= 0) ||
                   (tokenizer_find(t, "<|flush|>") >= 0 && tokenizer_find(t, "<|calls|>") >= 0);
    add_end(t, t->eos);
    for (int i = 0; i < N_SPELLINGS; i++) {
        int32_t id = special_find(&t->special, bytes_of(end_spelling[i]));
        if (harmony && strcmp(end_spelling[i], "<|end|>") == 0)
            continue;
        if (id >= 0 && t->vocab.type[id] == TOKEN_CONTROL)
            add_end(t, id);
    }
}

static enum status decode_all(struct tokenizer *t, const struct tokenizer_spec *spec, bool first,
                              struct pieces *out)
{
    struct buf all = {0};
    out->at = xcalloc((size_t)t->vocab.n + 1, sizeof *out->at);
    for (int32_t id = 0; id < t->vocab.n && all.len <= INT32_MAX; id++) {
        out->at[id] = (uint32_t)all.len;
        if (t->vocab.type[id] != TOKEN_UNUSED)
            decoder_piece(t->decoder, spec->token[id], special_is(&t->vocab, id, true), first,
                          &all);
    }
    out->at[t->vocab.n] = (uint32_t)all.len;
    buf_putc(&all, 0); /* so that data is never NULL */
    out->text = all.data;
    return all.len <= INT32_MAX
               ? OK
               : fail(ERR_FORMAT, "tokenizer: the tokens decode to more than 2 GiB of text");
}

static enum status set_around(const struct tokenizer_spec *spec, struct tokenizer *t)
{
    if (spec->n_before > TOKENIZER_MAX_AROUND || spec->n_behind > TOKENIZER_MAX_AROUND)
        return fail(ERR_UNSUPPORTED, "tokenizer: more than %d tokens around a text",
                    TOKENIZER_MAX_AROUND);
    for (int i = 0; i < spec->n_before; i++)
        TRY(check_id(spec, "leading", t->before[i] = spec->before[i]));
    for (int i = 0; i < spec->n_behind; i++)
        TRY(check_id(spec, "trailing", t->behind[i] = spec->behind[i]));
    t->n_before = spec->n_before;
    t->n_behind = spec->n_behind;
    if (spec->add_bos && spec->bos >= 0 && t->n_before == 0)
        t->before[t->n_before++] = spec->bos;
    if (spec->add_eos && spec->eos >= 0 && t->n_behind == 0)
        t->behind[t->n_behind++] = spec->eos;
    return OK;
}

static enum status build(struct tokenizer *t, const struct tokenizer_spec *spec)
{
    TRY(vocab_init(&t->vocab, spec, t->spell));
    TRY(check_id(spec, "BOS", spec->bos));
    TRY(check_id(spec, "EOS", spec->eos));
    TRY(check_id(spec, "unknown", spec->unk));
    TRY(set_around(spec, t));
    special_init(&t->special, false);
    special_add_all(&t->special, &t->vocab);
    TRY(pipeline_open(spec, &t->vocab, &t->pipeline));
    t->decoder = spec->pipeline->decoder;
    spec->pipeline->decoder = NULL;
    if (t->decoder) {
        TRY(decode_all(t, spec, false, &t->middle));
        TRY(decode_all(t, spec, true, &t->first));
    }
    t->bos = spec->bos;
    t->eos = spec->eos;
    t->drops_space = spec->add_space_prefix && spec->pipeline->from_scores;
    find_ends(t);
    for (int i = 0; i < spec->n_ends && i < TOKENIZER_MAX_ENDS; i++) {
        if (spec->ends[i] < spec->n_vocab) /* some lists name tokens of a larger sibling */
            add_end(t, spec->ends[i]);
    }
    return OK;
}

enum status tokenizer_new(const struct tokenizer_spec *spec, struct tokenizer **out)
{
    struct pipeline_spec parts = {0};
    struct tokenizer_spec with_parts = *spec;
    const struct kind *kind = kind_find(spec->model, spec->pre);
    enum status s = OK;
    if (!spec->pipeline && !kind)
        return kind_unknown(spec->model);
    struct tokenizer *t = xcalloc(1, sizeof *t);
    if (!spec->pipeline) {
        with_parts.pipeline = &parts;
        s = kind->prepare(spec, &parts);
    }
    t->spell = !spec->pipeline ? kind->spell : spec->pipeline->bytes ? spell_bytes : spell_raw;
    if (s == OK)
        s = build(t, &with_parts);
    normalizer_free(with_parts.pipeline->normalizer); /* what has not been taken */
    splitter_free(with_parts.pipeline->splitter);
    decoder_free(with_parts.pipeline->decoder);
    with_parts.pipeline->normalizer = NULL;
    with_parts.pipeline->splitter = NULL;
    with_parts.pipeline->decoder = NULL;
    if (s != OK)
        tokenizer_free(t);
    else
        *out = t;
    return s;
}

static void pieces_clear(struct pieces *p)
{
    xfree(p->text);
    xfree(p->at);
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    pipeline_close(t->pipeline);
    decoder_free(t->decoder);
    pieces_clear(&t->middle);
    pieces_clear(&t->first);
    special_clear(&t->special);
    vocab_clear(&t->vocab);
    xfree(t);
}

/* --- encoding --- */

static enum status encode(const struct tokenizer *t, struct bytes text, unsigned flags, void *run,
                          struct tokens *out)
{
    struct special_hit hit;
    for (size_t from = 0; from < text.n; from = hit.end) {
        bool found = special_next(&t->special, &t->vocab, text, from, flags & ENCODE_SPECIAL, &hit);
        if (!found)
            hit = (struct special_hit){-1, text.n, text.n};
        struct bytes between = {text.p + from, hit.begin - from};
        TRY(pipeline_text(run, between, flags, from == 0, out));
        if (found)
            tokens_push(out, hit.id);
    }
    return OK;
}

/* Whether what follows t->before at `from` begins with the same once more. */
static bool begins_twice(const struct tokenizer *t, const struct tokens *out, int from)
{
    int n = t->n_before;
    return out->n - from >= 2 * n &&
           memcmp(out->id + from, out->id + from + n, (size_t)n * sizeof *out->id) == 0;
}

enum status tokenizer_encode(const struct tokenizer *t, struct bytes text, unsigned flags,
                             struct tokens *out)
{
    int from = out->n;
    enum status s = OK;
    /* Not more tokens than bytes, but for BOS, EOS and a blank behind each special token. */
    if (text.n > (INT32_MAX - (size_t)out->n) / 4 - 2 * TOKENIZER_MAX_AROUND)
        return fail(ERR_TOO_LARGE, "a text of %zu bytes is too long to encode", text.n);
    if (text.n >= LARGE_TEXT)
        tokens_reserve(out, text.n);
    for (int i = 0; (flags & (ENCODE_BOS | ENCODE_PROMPT)) && i < t->n_before; i++)
        tokens_push(out, t->before[i]);
    if (text.n > 0) {
        void *run = pipeline_begin(t->pipeline, text.n);
        s = encode(t, text, flags, run, out);
        pipeline_end(run);
    }
    if (t->n_before > 0 && (flags & ENCODE_PROMPT) && begins_twice(t, out, from)) {
        out->n -= t->n_before;
        memmove(out->id + from, out->id + from + t->n_before,
                (size_t)(out->n - from) * sizeof *out->id);
    }
    for (int i = 0; (flags & ENCODE_BOS) && i < t->n_behind; i++)
        tokens_push(out, t->behind[i]);
    return s;
}

enum status tokenizer_words(const struct tokenizer *t, struct bytes text, struct buf *out)
{
    void *run = pipeline_begin(t->pipeline, text.n);
    enum status s = pipeline_words(run, text, out);
    pipeline_end(run);
    return s;
}

/* --- about tokens --- */

static bool in_range(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n;
}

static struct bytes piece_of(const struct pieces *p, int32_t id)
{
    return (struct bytes){p->text + p->at[id], p->at[id + 1] - p->at[id]};
}

int tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

struct bytes tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    if (!in_range(t, id))
        return (struct bytes){"", 0};
    return t->decoder ? piece_of(&t->middle, id) : vocab_piece(&t->vocab, id);
}

enum token_type tokenizer_type(const struct tokenizer *t, int32_t id)
{
    return in_range(t, id) ? (enum token_type)t->vocab.type[id] : TOKEN_UNUSED;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *spelling)
{
    struct bytes s = bytes_of(spelling);
    int32_t id = special_find(&t->special, s);
    struct buf piece = {0};
    if (id < 0 && s.n > 0) {
        t->spell(s, TOKEN_NORMAL, &piece);
        id = vocab_find(&t->vocab, piece.data, piece.len);
    }
    buf_clear(&piece);
    return id;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->bos >= 0 && t->n_before > 0 && t->before[0] == t->bos;
}

bool tokenizer_spells_end(struct bytes spelling)
{
    for (int i = 0; spelling.n > 0 && spelling.p[0] == '<' && i < N_SPELLINGS - MAY_BE_TEXT; i++)
        if (bytes_equal(spelling, end_spelling[i]))
            return true;
    return false;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    for (int i = 0; i < t->n_ends; i++)
        if (t->end[i] == id)
            return true;
    return false;
}

/* --- decoding --- */

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

/* How many bytes at s, which begin no character, one U+FFFD stands for: the longest beginning of a
 * character, at least 1 (Unicode 3.9, "maximal subparts", as Python and Rust do). */
static size_t broken_length(const char *s, size_t n)
{
    size_t k = 3 < n ? 3 : n;
    while (k > 1 && utf8_incomplete_tail(s, k) != k)
        k--;
    return k;
}

/* Gives out all of s but the beginning of a character at its end; returns how many bytes that is.
 */
static size_t give_whole(const char *s, size_t n, struct buf *out)
{
    size_t at = 0;
    for (;;) {
        size_t valid = utf8_valid_prefix(s + at, n - at);
        buf_append(out, s + at, valid);
        at += valid;
        if (at == n || utf8_incomplete_tail(s + at, n - at) == n - at)
            return n - at;
        buf_append(out, REPLACEMENT, 3);
        at += broken_length(s + at, n - at);
    }
}

/* The text of `id` where `d` stands. */
static struct bytes next_piece(const struct tokenizer *t, const struct detok *d, int32_t id)
{
    struct bytes piece = tokenizer_piece(t, id);
    if (d->started)
        return piece;
    if (t->decoder)
        return piece_of(&t->first, id);
    bool drop = t->drops_space && t->vocab.type[id] == TOKEN_NORMAL && piece.n > 0;
    return drop && piece.p[0] == ' ' ? (struct bytes){piece.p + 1, piece.n - 1} : piece;
}

static void push_text(struct detok *d, struct bytes piece, struct buf *out)
{
    struct buf joined = {0};
    if (d->n_held > 0) {
        buf_append(&joined, d->held, (size_t)d->n_held);
        buf_append(&joined, piece.p, piece.n);
        piece = (struct bytes){joined.data, joined.len};
    }
    size_t left = give_whole(piece.p, piece.n, out);
    memcpy(d->held, piece.p + piece.n - left, left);
    d->n_held = (int)left;
    buf_clear(&joined);
}

void detok_push(const struct tokenizer *t, struct detok *d, int32_t id, bool special,
                struct buf *out)
{
    enum token_type type = tokenizer_type(t, id);
    bool hidden = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
    if (type == TOKEN_UNUSED || (hidden && !special))
        return;
    bool repeated = d->last == id + 1;
    d->last = id + 1;
    if (t->decoder && repeated && decoder_drops_repeats(t->decoder))
        return;
    struct bytes piece = next_piece(t, d, id);
    d->started = true;
    if (d->blank)
        push_text(d, (struct bytes){" ", 1}, out);
    d->blank = t->decoder && decoder_ends_word(t->decoder, vocab_piece(&t->vocab, id));
    push_text(d, piece, out);
}

void detok_flush(struct detok *d, struct buf *out)
{
    if (d->n_held > 0)
        buf_append(out, REPLACEMENT, 3);
    d->n_held = 0;
}
