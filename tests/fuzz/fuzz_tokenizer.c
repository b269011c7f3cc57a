/* fuzz_tokenizer.c - any bytes are encoded by a small byte-level vocabulary, and the pieces of the
 * tokens are the bytes again; what decoding gives is always UTF-8. The first byte of the input
 * chooses the pre-tokenizer and whether control tokens are parsed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* qwen2 normalises, so its text need not come back. */
static const char *const pre[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
enum { N_PRE = 4, NFC = 3, N_MERGES = 8, N_VOCAB = 256 + N_MERGES + 2 };

static struct tokenizer *tokenizer[N_PRE];

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* The byte-level alphabet, written the other way round than in bpe.c: GPT-2's bytes_to_unicode. */
static void spell_byte(int byte, char out[4], size_t *n)
{
    uint32_t next = 256, cp = 0;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        cp = printable ? (uint32_t)b : next++;
    }
    *n = (size_t)utf8_encode(cp, out);
}

static void make(int which)
{
    static char spelling[256][4];
    static struct bytes token[N_VOCAB];
    static int32_t type[N_VOCAB];
    static const char *const merge[N_MERGES] = {"a a",
                                                "aa aa",
                                                "\xc4\xa0 a",
                                                "1 2",
                                                "h t",
                                                "\xc3\x83 \xc2\xa9",
                                                "\xc4\xa0 \xc4\xa0",
                                                "\xc4\x8a \xc4\x8a"};
    static const char *const merged[N_MERGES] = {"aa",
                                                 "aaaa",
                                                 "\xc4\xa0"
                                                 "a",
                                                 "12",
                                                 "ht",
                                                 "\xc3\x83\xc2\xa9",
                                                 "\xc4\xa0\xc4\xa0",
                                                 "\xc4\x8a\xc4\x8a"};
    struct bytes merges[N_MERGES];
    for (int b = 0; b < 256; b++) {
        spell_byte(b, spelling[b], &token[b].n);
        token[b].p = spelling[b];
        type[b] = TOKEN_NORMAL;
    }
    for (int i = 0; i < N_MERGES; i++) {
        merges[i] = bytes_of(merge[i]);
        token[256 + i] = bytes_of(merged[i]);
        type[256 + i] = TOKEN_NORMAL;
    }
    token[N_VOCAB - 2] = bytes_of("<|a|>");
    type[N_VOCAB - 2] = TOKEN_CONTROL;
    token[N_VOCAB - 1] = bytes_of("<u>");
    type[N_VOCAB - 1] = TOKEN_USER;
    struct tokenizer_spec spec = {.model = "gpt2",
                                  .pre = pre[which],
                                  .n_vocab = N_VOCAB,
                                  .token = token,
                                  .type = type,
                                  .n_merges = N_MERGES,
                                  .merge = merges,
                                  .bos = -1,
                                  .eos = -1,
                                  .unk = -1};
    require(tokenizer_new(&spec, &tokenizer[which]) == OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    int which = data[0] % N_PRE;
    unsigned flags = data[0] & 4 ? ENCODE_SPECIAL : 0;
    struct bytes text = {(const char *)data + 1, n - 1};
    struct tokens ids = {0};
    struct buf pieces = {0}, decoded = {0};
    struct detok d = {0};
    if (!tokenizer[which])
        make(which);
    require(tokenizer_encode(tokenizer[which], text, flags, &ids) == OK);
    for (int i = 0; i < ids.n; i++) {
        struct bytes piece = tokenizer_piece(tokenizer[which], ids.id[i]);
        require(flags || tokenizer_type(tokenizer[which], ids.id[i]) != TOKEN_CONTROL);
        buf_append(&pieces, piece.p, piece.n);
        detok_push(tokenizer[which], &d, ids.id[i], true, &decoded);
        require(utf8_valid_prefix(decoded.data, decoded.len) == decoded.len);
    }
    detok_flush(&d, &decoded);
    if (which != NFC)
        require(pieces.len == text.n && (!text.n || memcmp(pieces.data, text.p, text.n) == 0));
    if (which != NFC && utf8_valid_prefix(text.p, text.n) == text.n)
        require(decoded.len == text.n && (!text.n || memcmp(decoded.data, text.p, text.n) == 0));
    tokens_clear(&ids);
    buf_clear(&pieces);
    buf_clear(&decoded);
    return 0;
}
