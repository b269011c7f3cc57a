/* hf_parts.c - the files of a directory, cut out of one input. */
#include "tests/fuzz/hf_parts.h"

#include <string.h>

static const char *const name[N_HF_PARTS] = {
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

int hf_parts(const uint8_t *data, size_t n, struct ckpt_lent *lent)
{
    size_t at = sizeof(uint32_t) * N_HF_PARTS;
    int count = 0;

    for (int i = 0; i < N_HF_PARTS && n >= at; i++) {
        uint32_t length;

        memcpy(&length, data + sizeof length * (size_t)i, sizeof length);
        length = length < n - at ? length : (uint32_t)(n - at);
        if (length)
            lent[count++] = (struct ckpt_lent){name[i], {(const char *)data + at, length}};
        at += length;
    }
    return count;
}
