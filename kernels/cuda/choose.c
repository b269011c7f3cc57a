/* choose.c - which kernel and layout the weights of an op get on this GPU, and what a product of
 * many rows with one takes: by the formats there are kernels for, the GPU's configuration
 * (kernels/gpu) and what the self-check found. What was asked for is noted: only that is
 * checked. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/panel.h"

static void note_heads(struct cuda_used *u, const struct op_case *c)
{
    int i = 0;
    while (i < u->n_heads && (u->heads[i].kv != c->w || u->heads[i].dim != (int)c->k))
        i++;
    if (i == u->n_heads && i < CUDA_HEADS_MAX)
        u->heads[u->n_heads++] = (struct cuda_heads){c->w, (int)c->k};
}

bool cuda_can(const struct device *dev, const struct op_case *c, struct choice *out)
{
    const struct dtype_info *w = dtype_info(c->w);
    bool weight = c->op == OP_linear || c->op == OP_embed;
    struct choice found = {.kernel = "rows", .layout = LAYOUT_ROWS};
    const size_t panels = weight ? cuda_panel_bytes(c->w, c->n, c->k) : 0;
    if (c->op == OP_embed && !cuda_embeds(c->w) && panels == 0)
        return false;
    if (weight && c->k % w->block != 0)
        return false;
    if (weight)
        found.bytes = dtype_row_bytes(c->w, c->k) * (size_t)c->n;
    if (c->op == OP_linear && (c->w == DT_BF16 || c->w == DT_F16))
        found = (struct choice){.kernel = "mma",
                                .layout = LAYOUT_ROWS,
                                .bytes = (size_t)(cuda_half_stride(c->k) * c->n)};
    else if (c->op == OP_linear && panels != 0)
        found = (struct choice){.kernel = "mma", .layout = LAYOUT_PANEL, .bytes = panels};
    else if (c->op == OP_embed && !cuda_embeds(c->w))
        found = (struct choice){.kernel = "panels", .layout = LAYOUT_PANEL, .bytes = panels};
    else if (c->op == OP_linear && c->w != DT_F32)
        return false;
    if (c->op == OP_linear) {
        struct gpu_plan *plan = &((struct cuda_device *)(uintptr_t)dev)->queue.plan;
        struct gpu_shape one = {c->w, 1, c->n, c->k};
        struct gpu_params p = gpu_plan_get(plan, &one, false);
        found.us = gpu_cost(plan->config, &one, &p);
        found.bound_us = gpu_bound(plan->config, &one);
        found.source =
            gpu_exception_of(plan->config, &one, X_EXACT) ? "measured" : plan->config->id;
    }
    struct cuda_used *used = &((struct cuda_device *)(uintptr_t)dev)->used;
    if (c->op == OP_attention)
        note_heads(used, c);
    used->linear |= (uint64_t)(c->op == OP_linear) << c->w;
    used->tables |= (uint64_t)(c->op == OP_embed) << c->w;
    if (out)
        *out = found;
    return true;
}

int cuda_may(const struct cuda_queue *q, enum dtype t, const struct quant *w)
{
    int may = q->lt && !q->deterministic && !(q->refused & CUDA_NO_LT) ? GPU_MAY_LT : 0;
    const unsigned own = t == DT_F8_E4M3 ? CUDA_NO_W8A8 : CUDA_NO_W4A4;
    const unsigned lt = t == DT_F8_E4M3 ? CUDA_NO_LT_FP8 : CUDA_NO_LT_FP4;
    enum x_type x = q->deterministic ? X_EXACT : q->round_x;
    if (x == X_DECLARED)
        x = w ? w->x : X_EXACT;
    if (!x_type_goes_with(x, t))
        return may;
    may |= q->refused & own ? 0 : GPU_MAY_ROUND_OWN;
    may |= q->refused & lt ? 0 : GPU_MAY_ROUND_LT;
    return may | (w && w->row_scale ? GPU_MAY_ROW_SCALE : 0);
}

void cuda_many(const struct device *dev, const struct op_case *c, const struct quant *w,
               struct choice *out)
{
    struct cuda_device *d = (struct cuda_device *)(uintptr_t)dev;
    struct cuda_queue *q = &d->queue;
    const struct gpu_config *config = q->plan.config;
    struct gpu_shape s = {c->w, c->m, c->n, c->k};
    int may = cuda_may(q, c->w, w);
    struct gpu_params p = gpu_plan_get(&q->plan, &s, may);
    bool measured =
        gpu_exception_of(config, &s, may & GPU_MAY_ROUND ? x_type_of(s.w) : X_EXACT) != NULL;
    d->used.rounded |= (uint64_t)((may & GPU_MAY_ROUND) != 0) << c->w;
    d->used.row_scaled |= (uint64_t)((may & GPU_MAY_ROW_SCALE) != 0) << c->w;
    *out = (struct choice){.kernel = gpu_path_name(p.path),
                           .us = gpu_cost(config, &s, &p),
                           .bound_us = gpu_bound(config, &s),
                           .source = measured ? "measured" : config->id};
}
