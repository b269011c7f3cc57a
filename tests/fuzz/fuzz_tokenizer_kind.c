/* fuzz_tokenizer_kind.c - any bytes as a small RWKV or PLaMo-2 vocabulary and a text. What the
 * encoders choose is held against the plainest program that can say the same: RWKV's longest token
 * at each place by comparing with all of them, and PLaMo-2's cheapest way by trying all tokens
 * everywhere. Input: kind and flags, the number of tokens, each token as length, type and score,
 * bytes; then the text. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* N_FIXED: in a PLaMo-2 vocabulary an unknown token and the bytes, in RWKV's a control token and
 * the bytes. */
enum { N_FIXED = 257, N_OWN = 64, N_VOCAB = N_FIXED + N_OWN, PIECE = 15, TEXT = 512 };
enum { PLAMO = 1, SPECIAL = 2, ODD_TYPES = 4 }; /* bits of the first byte */

struct words {
    char own[N_OWN][PIECE], fixed[N_FIXED][8];
    struct bytes token[N_VOCAB];
    float score[N_VOCAB];
    int32_t type[N_VOCAB];
    int n;
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void add(struct words *w, struct bytes spelling, enum token_type type, float score)
{
    w->token[w->n] = spelling;
    w->type[w->n] = (int32_t)type;
    w->score[w->n++] = score;
}

static void add_fixed(struct words *w, bool plamo)
{
    static const char digit[] = "0123456789abcdef";
    add(w, bytes_of("<u>"), plamo ? TOKEN_UNKNOWN : TOKEN_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        char *s = w->fixed[b];
        memcpy(s, plamo ? "<0x__>" : "\\x__", plamo ? 6 : 4);
        s[plamo ? 3 : 2] = digit[b / 16];
        s[plamo ? 4 : 3] = digit[b % 16];
        add(w, (struct bytes){s, plamo ? 6 : 4}, plamo ? TOKEN_BYTE : TOKEN_NORMAL, 0);
    }
}

/* Returns how many bytes of the input it took. */
static size_t add_own(struct words *w, unsigned flags, const uint8_t *data, size_t n)
{
    size_t at = 0;
    for (int count = n ? data[at++] % N_OWN : 0; count > 0 && at + 2 <= n; count--) {
        size_t length = data[at] % (PIECE + 1);
        uint8_t kind = data[at + 1];
        enum token_type type = flags & ODD_TYPES && kind % 4 == 0 ? kind % 7u : TOKEN_NORMAL;
        char *own = w->own[w->n - N_FIXED];
        at += 2;
        length = length < n - at ? length : n - at;
        memcpy(own, data + at, length);
        at += length;
        add(w, (struct bytes){own, length}, type, (float)(int8_t)kind / 4);
    }
    return at;
}

static bool goes_on(const struct tokenizer *t, int32_t id, struct bytes text, size_t at)
{
    struct bytes piece = tokenizer_piece(t, id);
    return tokenizer_type(t, id) == TOKEN_NORMAL && piece.n > 0 && piece.n <= text.n - at &&
           memcmp(piece.p, text.p + at, piece.n) == 0;
}

static void check_longest(const struct tokenizer *t, struct bytes text, const struct tokens *ids)
{
    size_t at = 0;
    for (int i = 0; i < ids->n; i++) {
        size_t best = 0, length = tokenizer_piece(t, ids->id[i]).n;
        for (int32_t id = 0; id < tokenizer_n_vocab(t); id++)
            if (goes_on(t, id, text, at) && tokenizer_piece(t, id).n > best)
                best = tokenizer_piece(t, id).n;
        require(goes_on(t, ids->id[i], text, at) && length == best);
        at += length;
    }
    require(at == text.n);
}

/* In ten thousandths; of tokens with the same bytes the last counts. */
static double cost_of(const struct words *w, const struct tokenizer *t, int32_t id)
{
    struct bytes piece = tokenizer_piece(t, id);
    for (int32_t k = w->n - 1; k > id; k--)
        if (tokenizer_type(t, k) == TOKEN_NORMAL && tokenizer_piece(t, k).n == piece.n &&
            memcmp(tokenizer_piece(t, k).p, piece.p, piece.n) == 0)
            return cost_of(w, t, k);
    return -rint(1e4 * (double)w->score[id]);
}

static void check_cheapest(const struct words *w, const struct tokenizer *t, struct bytes text,
                           const struct tokens *ids)
{
    double best[TEXT + 1], own = 0, cost[N_VOCAB];
    uint32_t cp;
    for (int32_t id = 0; id < w->n; id++)
        cost[id] = cost_of(w, t, id);
    for (size_t at = text.n + 1; at-- > 0;) {
        best[at] = at == text.n ? 0 : INFINITY; /* inside a character no way goes on */
        if (at == text.n || ((unsigned char)text.p[at] & 0xc0) == 0x80)
            continue;
        best[at] = 1e7 + best[at + (size_t)utf8_decode(text.p + at, text.n - at, &cp)];
        for (int32_t id = 0; id < w->n; id++)
            if (goes_on(t, id, text, at) &&
                cost[id] + best[at + tokenizer_piece(t, id).n] < best[at])
                best[at] = cost[id] + best[at + tokenizer_piece(t, id).n];
    }
    for (size_t at = 0, i = 0; i < (size_t)ids->n; i++) {
        bool byte = tokenizer_type(t, ids->id[i]) == TOKEN_BYTE;
        own += !byte ? cost[ids->id[i]] : ((unsigned char)text.p[at] & 0xc0) == 0x80 ? 0 : 1e7;
        at += tokenizer_piece(t, ids->id[i]).n;
    }
    require(own == best[0]);
}

static void check(const struct words *w, const struct tokenizer *t, unsigned flags,
                  struct bytes text)
{
    struct tokens ids = {0};
    struct buf pieces = {0};
    require(tokenizer_encode(t, text, flags & SPECIAL ? ENCODE_SPECIAL : 0, &ids) == OK);
    for (int i = 0; i < ids.n; i++)
        buf_append(&pieces, tokenizer_piece(t, ids.id[i]).p, tokenizer_piece(t, ids.id[i]).n);
    require(pieces.len == text.n && (!text.n || memcmp(pieces.data, text.p, text.n) == 0));
    if (!(flags & (SPECIAL | ODD_TYPES | PLAMO)))
        check_longest(t, text, &ids);
    if (!(flags & (SPECIAL | ODD_TYPES)) && flags & PLAMO &&
        utf8_valid_prefix(text.p, text.n) == text.n)
        check_cheapest(w, t, text, &ids);
    tokens_clear(&ids);
    buf_clear(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct words w;
    struct tokenizer *t = NULL;
    if (n == 0)
        return 0;
    unsigned flags = data[0];
    w.n = 0;
    add_fixed(&w, flags & PLAMO);
    size_t at = 1 + add_own(&w, flags, data + 1, n - 1);
    struct bytes text = {(const char *)data + at, n - at < TEXT ? n - at : TEXT};
    struct tokenizer_spec spec = {.model = flags & PLAMO ? "plamo2" : "rwkv",
                                  .n_vocab = w.n,
                                  .token = w.token,
                                  .score = w.score,
                                  .type = w.type,
                                  .bos = -1,
                                  .eos = -1,
                                  .unk = flags & PLAMO ? 0 : -1};
    if (tokenizer_new(&spec, &t) != OK) {
        require(!t && fail_text()[0]);
        return 0;
    }
    check(&w, t, flags, text);
    tokenizer_free(t);
    return 0;
}
