/* tokenizer.c - the table of kinds, and what all kinds share: checking a file's lists, splitting
 * off the tokens that are written as such, BOS and EOS, and decoding.
 *
 * Invariant: a tokenizer never changes after tokenizer_new. What encoding needs to write to (the
 * matcher, the cache of words) is made for each call and sized to its text. */
#include "engine/text/tokenizer.h"

#include <string.h>

#include "engine/text/bpe.h"
#include "engine/text/pretok.h"
#include "engine/text/special.h"
#include "engine/text/spm.h"
#include "engine/text/vocab.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

struct kind {
    const char *model;
    vocab_spell *spell;
    /* `*out` is set and wants `close` even when this fails. */
    enum status (*open)(const struct tokenizer_spec *spec, const struct vocab *v, void **out);
    void (*close)(void *state);
    void *(*begin)(const void *state, size_t text_bytes); /* state of one call of encode */
    /* Appends the tokens of text without special tokens in it; `after_token`: it stands first, or
     * behind a special token. */
    void (*text)(void *run, struct bytes text, bool after_token, struct tokens *out);
    void (*end)(void *run);
    bool (*default_bos)(const char *pre);
};

static bool bpe_default_bos(const char *pre)
{
    const struct pretok_rule *rule = pretok_rule(pre);
    return rule && rule->add_bos;
}

static bool spm_default_bos(const char *pre)
{
    (void)pre; /* SentencePiece has none */
    return true;
}

/* clang-format off */
static const struct kind kinds[] = {
    {"gpt2",  bpe_spell, bpe_open, bpe_close, bpe_begin, bpe_text, bpe_end, bpe_default_bos},
    {"llama", spm_spell, spm_open, spm_close, spm_begin, spm_text, spm_end, spm_default_bos},
};

/* Spellings that end a turn in some family, from the models' generation_config.json. */
static const char *const end_spelling[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>",
    "<|endoftext|>", "<|end_of_text|>", "<EOT>", "</s>", "<eos>", "[EOS]",
    "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
};
/* clang-format on */
enum {
    N_KINDS = sizeof kinds / sizeof kinds[0],
    MAX_ENDS = 1 + sizeof end_spelling / sizeof end_spelling[0]
};

struct tokenizer {
    const struct kind *kind;
    void *state; /* the kind's */
    struct vocab vocab;
    struct special special;
    int32_t bos, eos;
    bool add_bos, add_eos;
    bool drops_space; /* decoding: the first piece loses the space that encoding put there */
    int32_t end[MAX_ENDS];
    int n_ends;
};

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

static const struct kind *find_kind(const char *model)
{
    for (int i = 0; model && i < N_KINDS; i++)
        if (strcmp(kinds[i].model, model) == 0)
            return &kinds[i];
    return NULL;
}

static enum status unknown_kind(const char *model)
{
    struct buf list = {0};
    for (int i = 0; i < N_KINDS; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", kinds[i].model);
    enum status s = fail(ERR_UNSUPPORTED, "tokenizer model '%s' is not supported; known are %s",
                         model ? model : "(none)", list.data);
    buf_clear(&list);
    return s;
}

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
    /* Where <|return|> and <|call|> end turns, <|end|> only ends one message of several. */
    bool harmony = tokenizer_find(t, "<|return|>") >= 0 && tokenizer_find(t, "<|call|>") >= 0;
    add_end(t, t->eos);
    for (int i = 0; i < MAX_ENDS - 1; i++) {
        int32_t id = special_find(&t->special, bytes_of(end_spelling[i]));
        if (harmony && strcmp(end_spelling[i], "<|end|>") == 0)
            continue;
        if (id >= 0 && t->vocab.type[id] == TOKEN_CONTROL)
            add_end(t, id);
    }
}

static enum status build(struct tokenizer *t, const struct tokenizer_spec *spec)
{
    TRY(vocab_init(&t->vocab, spec, t->kind->spell));
    TRY(check_id(spec, "BOS", spec->bos));
    TRY(check_id(spec, "EOS", spec->eos));
    TRY(check_id(spec, "unknown", spec->unk));
    special_init(&t->special, &t->vocab);
    TRY(t->kind->open(spec, &t->vocab, &t->state));
    t->bos = spec->bos;
    t->eos = spec->eos;
    t->add_bos = spec->add_bos && spec->bos >= 0;
    t->add_eos = spec->add_eos && spec->eos >= 0;
    t->drops_space = spec->add_space_prefix && t->kind->open == spm_open;
    find_ends(t);
    return OK;
}

enum status tokenizer_new(const struct tokenizer_spec *spec, struct tokenizer **out)
{
    const struct kind *kind = find_kind(spec->model);
    if (!kind)
        return unknown_kind(spec->model);
    struct tokenizer *t = xcalloc(1, sizeof *t);
    t->kind = kind;
    enum status s = build(t, spec);
    if (s != OK) {
        tokenizer_free(t);
        return s;
    }
    *out = t;
    return OK;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    t->kind->close(t->state);
    special_clear(&t->special);
    vocab_clear(&t->vocab);
    xfree(t);
}

bool tokenizer_default_bos(const char *model, const char *pre)
{
    const struct kind *kind = find_kind(model);
    return kind && kind->default_bos(pre);
}

/* --- encoding --- */

enum status tokenizer_encode(const struct tokenizer *t, struct bytes text, unsigned flags,
                             struct tokens *out)
{
    /* Not more tokens than bytes, but for BOS, EOS and a blank behind each special token. */
    if (text.n > (INT32_MAX - (size_t)out->n) / 2 - 2)
        return fail(ERR_TOO_LARGE, "a text of %zu bytes is too long to encode", text.n);
    if ((flags & ENCODE_BOS) && t->add_bos)
        tokens_push(out, t->bos);
    void *run = text.n > 0 ? t->kind->begin(t->state, text.n) : NULL;
    bool after_token = true;
    for (size_t from = 0; from < text.n;) {
        size_t at = text.n;
        int32_t id = special_next(&t->special, &t->vocab, text, from, flags & ENCODE_SPECIAL, &at);
        if (at > from)
            t->kind->text(run, (struct bytes){text.p + from, at - from}, after_token, out);
        from = at;
        if (id >= 0) {
            tokens_push(out, id);
            from += vocab_piece(&t->vocab, id).n;
        }
        after_token = true; /* only asked of text behind a token: between are no two texts */
    }
    if (run)
        t->kind->end(run);
    if ((flags & ENCODE_BOS) && t->add_eos)
        tokens_push(out, t->eos);
    return OK;
}

/* --- about tokens --- */

static bool in_range(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n;
}

int tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

struct bytes tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    return in_range(t, id) ? vocab_piece(&t->vocab, id) : (struct bytes){"", 0};
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
        t->kind->spell(s, TOKEN_NORMAL, &piece);
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
    return t->add_bos;
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

void detok_push(const struct tokenizer *t, struct detok *d, int32_t id, bool special,
                struct buf *out)
{
    enum token_type type = tokenizer_type(t, id);
    bool hidden = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
    if (type == TOKEN_UNUSED || (hidden && !special))
        return;
    struct bytes piece = tokenizer_piece(t, id);
    if (t->drops_space && !d->started && type == TOKEN_NORMAL && piece.n > 0 && piece.p[0] == ' ')
        piece = (struct bytes){piece.p + 1, piece.n - 1};
    d->started = true;
    if (d->n_held == 0) {
        size_t left = give_whole(piece.p, piece.n, out);
        memcpy(d->held, piece.p + piece.n - left, left);
        d->n_held = (int)left;
        return;
    }
    struct buf joined = {0};
    buf_append(&joined, d->held, (size_t)d->n_held);
    buf_append(&joined, piece.p, piece.n);
    size_t left = give_whole(joined.data, joined.len, out);
    memcpy(d->held, joined.data + joined.len - left, left);
    d->n_held = (int)left;
    buf_clear(&joined);
}

void detok_flush(struct detok *d, struct buf *out)
{
    if (d->n_held > 0)
        buf_append(out, REPLACEMENT, 3);
    d->n_held = 0;
}
