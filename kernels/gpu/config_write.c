/* config_write.c - configs as JSON that config_read.c takes, one line a member. */
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/gpu/config_fields.h"
#include "kernels/gpu/registry.h"

static void put_field(struct buf *out, const struct field *f, const void *base)
{
    const void *at = (const char *)base + f->at;
    if (f->type == F_TEXT)
        json_write_string(out, *(const char *const *)at, strlen(*(const char *const *)at));
    else if (f->type == F_NUMBER)
        json_write_number(out, *(const double *)at);
    else if (f->type == F_FLAG)
        buf_puts(out, *(const bool *)at ? "true" : "false");
    else
        buf_printf(out, "%lld",
                   f->type == F_INT ? (long long)*(const int *)at
                                    : (long long)*(const int64_t *)at);
}

/* Optional members that say nothing are left out. */
static bool says_nothing(const struct field *f, const void *base)
{
    const void *at = (const char *)base + f->at;
    if (f->required)
        return false;
    if (f->type == F_TEXT)
        return !**(const char *const *)at;
    return f->type == F_NUMBER ? *(const double *)at == 0 : *(const int *)at == 0;
}

static void put_members(struct buf *out, struct table t, const void *base, bool first)
{
    for (int i = 0; i < t.n; i++) {
        if (says_nothing(&t.f[i], base))
            continue;
        buf_printf(out, "%s\"%s\": ", first ? "" : ", ", t.f[i].name);
        put_field(out, &t.f[i], base);
        first = false;
    }
}

static void put_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\n  \"%s\": ", name);
    json_write_string(out, text, strlen(text));
}

static void put_ids(struct buf *out, const char *name, const uint32_t *id, int n)
{
    buf_printf(out, "\"%s\": [", name);
    for (int i = 0; i < n; i++)
        buf_printf(out, "%s\"%04x:%04x\"", i ? ", " : "", id[i] >> 16, id[i] & 0xffff);
    buf_puts(out, "], ");
}

static void put_match(struct buf *out, const struct gpu_match *m)
{
    buf_puts(out, ",\n  \"match\": {");
    put_ids(out, "pci", m->pci, m->n_pci);
    put_ids(out, "kin", m->kin, m->n_kin);
    buf_puts(out, "\"cc\": [");
    for (int i = 0; i < m->n_cc; i++)
        buf_printf(out, "%s\"%d.%d\"", i ? ", " : "", m->cc[i] / 10, m->cc[i] % 10);
    buf_printf(out, "], \"sm\": %d, ", m->sm);
    if (m->mem_gib[1] > 0) {
        buf_puts(out, "\"mem_gib\": [");
        json_write_number(out, m->mem_gib[0]);
        buf_puts(out, ", ");
        json_write_number(out, m->mem_gib[1]);
        buf_puts(out, "], ");
    }
    buf_printf(out, "\"mig\": %s}", m->mig ? "true" : "false");
}

void gpu_exception_write(struct buf *out, const struct gpu_exception *x)
{
    buf_printf(out, "{\"w\": \"%s\", \"path\": \"%s\"", dtype_info(x->w)->name,
               gpu_path_name(x->p.path));
    if (x->x != X_EXACT)
        buf_printf(out, ", \"x\": \"%s\"", x_type_name(x->x));
    put_members(out, gpu_fields(GPU_FIELDS_GEMM), x, false);
    if (gpu_path_own(x->p.path)) {
        buf_puts(out, ", \"p\": {");
        put_members(out, gpu_fields(GPU_FIELDS_PARAMS), &x->p, true);
        buf_putc(out, '}');
    } else if (x->lt.id >= 0) {
        buf_puts(out, ", \"lt\": {");
        put_members(out, gpu_fields(GPU_FIELDS_LT), &x->lt, true);
        if (x->lt.has_raw) {
            buf_puts(out, ", \"raw\": \"");
            for (size_t i = 0; i < sizeof x->lt.raw; i++)
                buf_printf(out, "%02x", x->lt.raw[i]);
            buf_putc(out, '"');
        }
        buf_putc(out, '}');
    }
    buf_putc(out, '}');
}

void gpu_attn_write(struct buf *out, const struct gpu_attn *x)
{
    buf_putc(out, '{');
    put_members(out, gpu_fields(GPU_FIELDS_ATTN), x, true);
    buf_putc(out, '}');
}

static void put_lists(struct buf *out, const struct gpu_config *c)
{
    for (int i = 0; i < c->n_attn; i++) {
        buf_puts(out, i ? ",\n    " : ",\n  \"attn\": [\n    ");
        gpu_attn_write(out, &c->attn[i]);
    }
    buf_puts(out, c->n_attn ? "\n  ]" : "");
    buf_puts(out, ",\n  \"gemm\": [");
    for (int i = 0; i < c->n_gemm; i++) {
        buf_puts(out, i ? ",\n    " : "\n    ");
        gpu_exception_write(out, &c->gemm[i]);
    }
    buf_puts(out, c->n_gemm ? "\n  ],\n  \"deny\": [" : "],\n  \"deny\": [");
    for (int i = 0; i < c->n_deny; i++) {
        const struct gpu_deny *d = &c->deny[i];
        buf_printf(out, "%s{\"lt\": [%d, %d], \"what\": ", i ? ",\n    " : "\n    ", d->lt[0],
                   d->lt[1]);
        json_write_string(out, d->what, strlen(d->what));
        buf_puts(out, ", \"why\": ");
        json_write_string(out, d->why, strlen(d->why));
        buf_putc(out, '}');
    }
    buf_puts(out, c->n_deny ? "\n  ]" : "]");
}

void gpu_provenance_json(struct buf *out, const struct gpu_config *c)
{
    buf_printf(out, "\"kind\": \"%s\"", gpu_kind_name(c->from.kind));
    put_members(out, gpu_fields(GPU_FIELDS_PROVENANCE), &c->from, false);
}

void gpu_config_write(struct buf *out, const struct gpu_config *c)
{
    buf_printf(out, "{\n  \"schema\": %d", GPU_SCHEMA);
    put_text(out, "id", c->id);
    put_text(out, "name", c->name);
    put_match(out, &c->match);
    buf_puts(out, ",\n  \"provenance\": {");
    gpu_provenance_json(out, c);
    buf_putc(out, '}');
    if (c->unsupported) {
        put_text(out, "unsupported", c->unsupported);
        buf_puts(out, "\n}\n");
        return;
    }
    buf_printf(out, ",\n  \"mhz\": %d,\n  \"ceil\": {", c->mhz);
    put_members(out, gpu_fields(GPU_FIELDS_CEIL), &c->ceil, true);
    buf_puts(out, "},\n  \"eff\": {");
    for (int i = 0; i < N_GPU_KERNEL; i++) {
        buf_printf(out, "%s\n    \"%s\": {", i ? "," : "", gpu_kernel_name((enum gpu_kernel)i));
        put_members(out, gpu_fields(GPU_FIELDS_EFF), &c->eff[i], true);
        buf_putc(out, '}');
    }
    buf_puts(out, "\n  },\n  \"cross\": {");
    for (int i = GPU_SKINNY_16; i <= GPU_SKINNY_ANY; i++) {
        buf_printf(out, "\n    \"%s\": {\"skinny_max_m\": %d",
                   gpu_kernel_name((enum gpu_kernel)i) + strlen("skinny_"), c->skinny_max_m[i]);
        if (gpu_mma8_kernel((enum gpu_kernel)i) != N_GPU_KERNEL)
            buf_printf(out, ", \"mma8_max_m\": %d", c->mma8_max_m[i]);
        buf_puts(out, "},");
    }
    buf_printf(out, "\n    \"attn_dec\": {\"chunk_tokens\": %d, \"max_parts\": %d}%s\n  }",
               c->attn_chunk, c->attn_parts, c->no_pdl ? ",\n    \"pdl\": false" : "");
    put_lists(out, c);
    buf_puts(out, "\n}\n");
}
