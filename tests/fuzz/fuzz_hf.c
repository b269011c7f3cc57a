/* fuzz_hf.c - any bytes as the files of a Hugging Face directory: refused with a message that names
 * it, or a checkpoint that walk.c can read. */
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/hf_parts.h"
#include "tests/fuzz/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ckpt_lent lent[N_HF_PARTS];
    int count = hf_parts(data, n, lent);
    struct checkpoint *c;

    if (count == 0)
        return 0;
    if (checkpoint_borrow(lent, count, &c) != OK) {
        walk_require(!c && strncmp(fail_text(), "d/", 2) == 0);
        return 0;
    }
    walk_checkpoint(c);
    checkpoint_close(c);
    return 0;
}
