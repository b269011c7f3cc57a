/* gpus.c - `inferd gpus`: the GPUs whose configurations are built in, and those of this machine. */
#include <stdio.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/json.h"
#include "kernels/gpu/select.h"
#include "server/cmd/cmd.h"

static void cc_list(const struct gpu_match *m, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < m->n_cc && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%d.%d", i ? " " : "", m->cc[i] / 10,
                               m->cc[i] % 10);
}

static void memory_of(const struct gpu_match *m, char *out, size_t n)
{
    out[0] = '\0';
    if (m->mem_gib[1] > 0)
        snprintf(out, n, "%.0f-%.0f", m->mem_gib[0], m->mem_gib[1]);
}

static void print_text(struct buf *out, struct arena *a, const struct gpu_config *all, int n)
{
    char cc[48], memory[32];
    buf_printf(out, "%-20s %-30s %-9s %4s %8s %7s %7s  %s\n", "id", "GPU", "cc", "SM", "GiB",
               "GB/s", "TFLOP/s", "configuration");
    for (int i = 0; i < n; i++) {
        const struct gpu_config *c = &all[i];
        cc_list(&c->match, cc, sizeof cc);
        memory_of(&c->match, memory, sizeof memory);
        buf_printf(out, "%-20s %-30.30s %-9.20s %4d %8s ", c->id, c->name, cc, c->match.sm, memory);
        if (c->unsupported)
            buf_printf(out, "%7s %7s  not supported: %s\n", "", "", c->unsupported);
        else
            buf_printf(out, "%7.0f %7.0f  %s\n", c->ceil.read_gbs, c->ceil.bf16_tflops,
                       strchr(gpu_config_title(a, c), '('));
    }
    buf_puts(out,
             "Rates are what a program can reach: memory read, and products of 16-bit floats.\n");
}

static void put_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    json_write_string(out, text, strlen(text));
}

static void print_json(struct buf *out, const struct gpu_config *c)
{
    const struct gpu_match *m = &c->match;
    char cc[48];
    cc_list(m, cc, sizeof cc);
    buf_putc(out, '{');
    put_text(out, "id", c->id);
    buf_putc(out, ',');
    put_text(out, "name", c->name);
    buf_putc(out, ',');
    put_text(out, "cc", cc);
    buf_printf(out, ",\"sm\":%d,\"pci\":[", m->sm);
    for (int i = 0; i < m->n_pci; i++)
        buf_printf(out, "%s\"%04x:%04x\"", i ? "," : "", m->pci[i] >> 16, m->pci[i] & 0xffff);
    buf_printf(out, "],\"supported\":%s,", c->unsupported ? "false" : "true");
    if (c->unsupported)
        put_text(out, "reason", c->unsupported);
    else
        gpu_provenance_json(out, c);
    buf_putc(out, '}');
}

/* One GPU of this machine, or why it cannot be used. */
static void print_here(struct buf *out, const struct backend *b, int index, const struct config *c)
{
    struct device_options o = {
        .index = index, .gpu_config = c->gpu_config, .gpu_cache = c->gpu_cache, .cublaslt = "none"};
    struct device *dev;
    struct device_info info;
    if (b->open(&o, &dev) != OK) {
        buf_puts(out, c->json ? "{" : "");
        if (c->json)
            put_text(out, "error", fail_text());
        else
            buf_printf(out, "here: %s\n", fail_text());
        buf_puts(out, c->json ? "}" : "");
        return;
    }
    b->info(dev, &info);
    if (c->json) {
        gpu_selected_json(out, info.gpu, NULL);
    } else {
        struct arena a;
        arena_init(&a, 0);
        buf_printf(out, "here: cuda:%d %s, %s: configuration %s\n", index, info.name, info.isa,
                   gpu_selected_title(&a, info.gpu));
        struct gpu_choices n = gpu_choices_of(&info.gpu->config);
        if (n.gemm + n.attn > 0)
            buf_printf(out,
                       "      measured choices: %d of products, %d of them algorithms of cuBLASLt; "
                       "%d of attention\n",
                       n.gemm, n.algorithms, n.attn);
        arena_clear(&a);
    }
    b->close(dev);
}

static void print_machine(struct buf *out, const struct config *c)
{
    const struct backend *b;
    int index, n;
    if (backend_find("cuda", &b, &index) != OK) {
        if (!c->json)
            buf_printf(out, "here: %s\n", fail_text());
        return;
    }
    n = b->count();
    for (int i = 0; i < n || i == 0; i++) { /* of none, the first says why */
        buf_puts(out, c->json && i ? "," : "");
        print_here(out, b, i, c);
    }
}

int cmd_gpus(const struct config *c)
{
    struct arena a;
    struct buf out = {0};
    struct gpu_config *all;
    int n, code = EXIT_GOOD;
    arena_init(&a, 0);
    if (gpu_builtins(&a, &all, &n) != OK) {
        code = cmd_failed();
    } else if (c->json) {
        buf_puts(&out, "{\"gpus\":[");
        for (int i = 0; i < n; i++) {
            buf_puts(&out, i ? ",\n" : "\n");
            print_json(&out, &all[i]);
        }
        buf_puts(&out, "],\n\"here\":[");
        print_machine(&out, c);
        buf_puts(&out, "]}\n");
    } else {
        print_text(&out, &a, all, n);
        print_machine(&out, c);
    }
    if (code == EXIT_GOOD)
        code = cmd_print(&out);
    buf_clear(&out);
    arena_clear(&a);
    return code;
}
