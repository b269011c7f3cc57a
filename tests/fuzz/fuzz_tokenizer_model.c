/* fuzz_tokenizer_model.c - any bytes as a tokenizer.model: it is refused, or it encodes and decodes
 * whatever text it meets. */
#include "engine/text/tokenizer_model.h"
#include "tests/fuzz/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer_files f = {.tokenizer = {(const char *)data, n}, .bos = -1, .eos = -1};
    struct tokenizer *t = NULL;
    enum status s = tokenizer_model_read(&f, NULL, NULL, &t);
    tokens_try(s, t);
    return 0;
}
