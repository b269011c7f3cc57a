/* config.c - the words of a config: names of kinds, paths and kernels, and lines about it. */
#include "kernels/gpu/config.h"

#include "kernels/base/json.h"
#include "kernels/gpu/config_fields.h"

static const char *const kinds[N_GPU_KIND] = {"derived", "hand", "measured"};
static const char *const paths[N_GPU_PATH] = {"skinny", "lt",     "dequant_lt", "plain", "mma8",
                                              "w8a8",   "lt_fp8", "w4a4",       "lt_fp4"};
#define GPU_KERNEL_NAME(id, name) name,
static const char *const kernels[N_GPU_KERNEL] = {GPU_KERNELS(GPU_KERNEL_NAME)};
#undef GPU_KERNEL_NAME

static int find(const char *const *names, int n, const struct json *v)
{
    for (int i = 0; i < n; i++)
        if (json_is(v, JSON_STRING) && bytes_equal(v->text, names[i]))
            return i;
    return -1;
}

int gpu_kind_find(const struct json *v)
{
    return find(kinds, N_GPU_KIND, v);
}

int gpu_path_find(const struct json *v)
{
    return find(paths, N_GPU_PATH, v);
}

const char *gpu_kind_name(enum gpu_kind k)
{
    return kinds[k];
}

const char *gpu_path_name(enum gpu_path p)
{
    return paths[p];
}

const char *gpu_kernel_name(enum gpu_kernel k)
{
    return kernels[k];
}

bool gpu_lt_same(const struct gpu_lt *a, const struct gpu_lt *b)
{
    return a->id == b->id && a->tile == b->tile && a->stages == b->stages &&
           a->splitk == b->splitk && a->reduction == b->reduction && a->swizzle == b->swizzle &&
           a->custom == b->custom && a->inner == b->inner && a->cluster == b->cluster;
}

const char *gpu_config_title(struct arena *a, const struct gpu_config *c)
{
    const struct gpu_provenance *p = &c->from;
    if (p->kind == GPU_DERIVED)
        return arena_printf(a, "%s (derived from %s)", c->id, p->parent);
    if (p->kind == GPU_MEASURED)
        return arena_printf(a, "%s (measured %s)", c->id, p->date);
    return arena_printf(a, "%s (by hand, %s)", c->id, p->date);
}

struct gpu_choices gpu_choices_of(const struct gpu_config *c)
{
    struct gpu_choices n = {.gemm = c->n_gemm, .attn = c->n_attn};
    for (int i = 0; i < c->n_gemm; i++)
        n.algorithms += !gpu_path_own(c->gemm[i].p.path) && c->gemm[i].lt.id >= 0;
    return n;
}
