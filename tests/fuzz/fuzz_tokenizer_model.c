/* fuzz_tokenizer_model.c - any bytes as a tokenizer.model: it is refused, or it encodes and decodes
 * whatever text it meets. */
#include <stdint.h>
#include <stdlib.h>

#include "engine/text/tokenizer_model.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char text[] =
    "Hello, World's  1234 \xc3\xa9t\xc3\xa9 e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87"
    "\xf0\x9f\x98\x80\xe2\x96\x81<s></s>[MASK] \n\n\x01\x7f\xff a b ab";

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer_files f = {.tokenizer = {(const char *)data, n}, .bos = -1, .eos = -1};
    struct tokenizer *t = NULL;
    struct tokens ids = {0};
    struct buf out = {0};
    struct detok d = {0};
    if (tokenizer_model_read(&f, NULL, NULL, &t) != OK) {
        require(!t && fail_text()[0]);
        return 0;
    }
    enum status s = tokenizer_encode(t, (struct bytes){text, sizeof text - 1},
                                     ENCODE_BOS | ENCODE_SPECIAL, &ids);
    require(s == OK || ids.n >= 0);
    for (int i = 0; i < ids.n; i++) {
        require(ids.id[i] >= 0 && ids.id[i] < tokenizer_n_vocab(t));
        detok_push(t, &d, ids.id[i], true, &out);
    }
    detok_flush(&d, &out);
    require(utf8_valid_prefix(out.data ? out.data : "", out.len) == out.len);
    tokens_clear(&ids);
    buf_clear(&out);
    tokenizer_free(t);
    return 0;
}
