/* fast.h - the ops over packed weights and paged KV: threads and vector kernels, for cpu.c.
 *
 * Each function computes its op and returns true, or touches nothing and returns false when this
 * case has no fast version; then the naive op is to be taken. What decides is only the ISA, types
 * and sizes, never the values or the number of rows. Contracts were checked by ops.c. */
#ifndef KERNELS_CPU_FAST_H
#define KERNELS_CPU_FAST_H

#include "kernels/base/status.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/pool.h"

struct fast {
    const struct cpu_isa *isa;
    struct pool *pool;
    void *scratch, *memory; /* of the op that runs: packed activations, partial attention */
    size_t scratch_bytes;
};

/* isa NULL: the best. ERR_UNSUPPORTED names what this CPU has. */
enum status fast_open(struct fast *f, int threads, const char *isa);
void fast_close(struct fast *f);

bool fast_packs(const struct fast *f, enum dtype t, int64_t n, int64_t k, size_t *bytes);
void fast_pack(struct fast *f, const struct tensor *src, int n, struct tensor *dst);
/* KV pages of this type and head size have this ISA's own order: kv_write, rope_kv and attention
 * then all are fast. */
bool fast_kv(const struct fast *f, const struct kv_view *kv);

bool fast_embed(struct fast *f, const struct op_embed *a);
bool fast_rmsnorm(struct fast *f, const struct op_rmsnorm *a);
bool fast_add_rmsnorm(struct fast *f, const struct op_add_rmsnorm *a);
bool fast_linear(struct fast *f, const struct op_linear *a);
bool fast_rope(struct fast *f, const struct op_rope *a);
bool fast_kv_write(struct fast *f, const struct op_kv_write *a);
bool fast_rope_kv(struct fast *f, const struct op_rope_kv *a);
bool fast_attention(struct fast *f, const struct op_attention *a);
bool fast_glu(struct fast *f, const struct op_glu *a);
bool fast_add(struct fast *f, const struct op_add *a);

#endif
