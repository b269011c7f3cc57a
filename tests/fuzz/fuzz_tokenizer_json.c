/* fuzz_tokenizer_json.c - any bytes as a tokenizer.json: it is refused, or it encodes and decodes
 * whatever text it meets. */
#include "engine/text/tokenizer_json.h"
#include "tests/fuzz/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer_files f = {.tokenizer = {(const char *)data, n}, .bos = -1, .eos = -1};
    struct tokenizer *t = NULL;
    enum status s = tokenizer_json_read(&f, &t);
    tokens_try(s, t);
    return 0;
}
