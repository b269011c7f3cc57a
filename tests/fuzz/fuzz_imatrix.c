/* fuzz_imatrix.c - any bytes as an importance matrix: refused with a message that names the file,
 * or a matrix of positive numbers. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/load/imatrix.h"
#include "tests/fuzz/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "a"};
    struct imatrix *m;

    if (imatrix_read("file", (struct bytes){(const char *)data, n}, &m) != OK) {
        walk_require(!m && strncmp(fail_text(), "file: ", 6) == 0);
        return 0;
    }
    walk_require(imatrix_entries(m) > 0 && imatrix_chunks(m) >= 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int64_t k = 1; k <= 96; k++) {
            const float *x;

            if (imatrix_get(m, names[i], 1, k, &x) != OK || !x)
                continue;
            for (int64_t j = 0; j < k; j++)
                walk_require(isfinite(x[j]) && x[j] > 0);
        }
    }
    imatrix_close(m);
    return 0;
}
