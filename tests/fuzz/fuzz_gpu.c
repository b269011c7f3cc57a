/* fuzz_gpu.c - a GPU configuration that is read can be written, and what was written reads the
 * same; a checked one is legal for every capability that it names. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/gpu/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gpu_config c, d;
    struct buf once = {0}, twice = {0};
    struct arena arena;

    arena_init(&arena, 64 << 20);
    if (gpu_config_read(&arena, (const char *)data, n, &c) == OK) {
        gpu_config_write(&once, &c);
        require(gpu_config_read(&arena, once.data, once.len, &d) == OK);
        gpu_config_write(&twice, &d);
        require(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
        bool legal = gpu_check(&c) == OK;
        for (int i = 0; i < c.n_gemm && legal; i++)
            for (int j = 0; j < c.match.n_cc; j++)
                require(gpu_legal(c.match.cc[j], c.gemm[i].w, &c.gemm[i].p) == OK);
    } else {
        require(*fail_text());
    }
    buf_clear(&once);
    buf_clear(&twice);
    arena_clear(&arena);
    return 0;
}
