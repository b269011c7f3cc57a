/* fuzz_foreign.c - any bytes as a file that is no checkpoint: told what it is in whole lines, or
 * not known. */
#include <stdint.h>
#include <stdlib.h>

#include "engine/load/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf out = {0};

    if (foreign_explain("file", (struct bytes){(const char *)data, n}, &out) &&
        (out.len == 0 || out.data[out.len - 1] != '\n'))
        abort();
    buf_clear(&out);
    return 0;
}
