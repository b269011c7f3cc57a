/* fuzz_loose.c - any bytes as the files of a tokenizer that is not one tokenizer.json: refused, or
 * the tokenizer.json made of them is read, and encodes and decodes whatever text it meets.
 *
 * Parts, a line "%%" between them: vocab.json, merges.txt, vocab.txt, tekken.json, tokenizer.model,
 * tokenizer_config.json, special_tokens_map.json, added_tokens.json. */
#include <stdint.h>
#include <string.h>

#include "engine/text/loose.h"
#include "tests/fuzz/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { N_PARTS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char cut[] = "\n%%\n";
    struct bytes rest = {(const char *)data, n}, part[N_PARTS] = {{NULL, 0}};
    struct tokenizer *t = NULL;
    struct buf made = {0};
    for (int i = 0; i < N_PARTS && rest.n > 0; i++) {
        const char *end = memmem(rest.p, rest.n, cut, 4);
        size_t length = end ? (size_t)(end - rest.p) : rest.n, more = end ? 4 : 0;
        part[i] = (struct bytes){rest.p, length};
        rest = (struct bytes){rest.p + length + more, rest.n - length - more};
    }
    struct loose_files l = {.vocab = part[0],
                            .merges = part[1],
                            .words = part[2],
                            .tekken = part[3],
                            .ranks = part[4],
                            .network = bytes_of("qwen2")};
    struct tokenizer_files f = {
        .config = part[5], .special = part[6], .added = part[7], .bos = -1, .eos = -1};
    if (!loose_has(&l))
        return 0;
    enum status s = loose_write(&l, &f, &made);
    if (s == OK) {
        f.tokenizer = (struct bytes){made.data, made.len};
        s = tokenizer_json_read(&f, &t);
    }
    tokens_try(s, t);
    buf_clear(&made);
    return 0;
}
