/* fuzz_hf.c - any bytes as the files of a Hugging Face directory: refused with a message that names
 * it, or a checkpoint that walk.c can read.
 *
 * Parts: for each of the names below a u32 length, then the bytes of each; length 0: no such file.
 */
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const names[] = {
    "d/config.json",
    "d/model.safetensors",
    "d/model.safetensors.index.json",
    "d/model-00001-of-00002.safetensors",
    "d/model-00002-of-00002.safetensors",
    "d/generation_config.json",
    "d/tokenizer_config.json",
    "d/quantize_config.json",
    "d/hf_quant_config.json",
    "d/chat_template.jinja",
};
enum { N_NAMES = sizeof names / sizeof names[0] };

/* Cuts the files out of `data`; a length that is too great is cut. */
static int cut(const uint8_t *data, size_t n, struct ckpt_lent *lent)
{
    size_t at = sizeof(uint32_t) * N_NAMES;
    int count = 0;

    for (int i = 0; i < N_NAMES && n >= at; i++) {
        uint32_t length;

        memcpy(&length, data + sizeof length * (size_t)i, sizeof length);
        length = length < n - at ? length : (uint32_t)(n - at);
        if (length)
            lent[count++] = (struct ckpt_lent){names[i], {(const char *)data + at, length}};
        at += length;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ckpt_lent lent[N_NAMES];
    int count = cut(data, n, lent);
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
