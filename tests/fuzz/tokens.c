/* tokens.c - see tokens.h. */
#include "tests/fuzz/tokens.h"

#include <stdlib.h>

#include "kernels/base/utf8.h"

static const char text[] =
    "Hello, World's  1234 \xc3\xa9t\xc3\xa9 e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87"
    "\xf0\x9f\x98\x80\xe2\x96\x81<s></s>[MASK] \n\n\x01\x7f\xff a b ab";

static void require(bool holds)
{
    if (!holds)
        abort();
}

void tokens_try(enum status s, struct tokenizer *t)
{
    struct tokens ids = {0};
    struct buf out = {0};
    struct detok d = {0};
    if (s != OK) {
        require(!t && fail_text()[0]);
        return;
    }
    s = tokenizer_encode(t, (struct bytes){text, sizeof text - 1}, ENCODE_BOS | ENCODE_SPECIAL,
                         &ids);
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
}
