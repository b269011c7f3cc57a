/* embed.c - at build time: checks configs and writes them, without spaces, into one C file.
 *
 * usage: embed OUT.c CONFIG.json ...     exits 1 and names the file when one breaks a rule
 *
 * What says that it is derived must have its parent among them: of the same capability, and itself
 * measured or written by hand. So every figure is one step from where it was got. */
#include <stdio.h>
#include <string.h>

#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "kernels/gpu/config.h"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The text as a C string, in pieces that stay below what compilers must take. */
static void put_literal(struct buf *out, const struct buf *text)
{
    for (size_t i = 0; i < text->len; i++) {
        if (i % 80 == 0)
            buf_puts(out, i ? "\"\n     \"" : "\"");
        if (text->data[i] == '"' || text->data[i] == '\\')
            buf_putc(out, '\\');
        buf_putc(out, text->data[i]);
    }
    buf_puts(out, "\"");
}

static enum status embed(struct arena *a, const char *path, struct gpu_config *c, struct buf *out)
{
    const struct json *v;
    struct buf small = {0};
    char *text;
    size_t n;
    enum status s = file_read(path, GPU_FILE_MAX, &text, &n);
    if (s == OK) {
        s = gpu_config_read(a, text, n, c);
        if (s == OK)
            s = gpu_check(c);
        if (s == OK)
            s = json_parse(a, text, n, &v);
        size_t id = s == OK ? strlen(c->id) : 0;
        if (s == OK && (strncmp(base_name(path), c->id, id) != 0 ||
                        strcmp(base_name(path) + id, ".json") != 0))
            s = fail(ERR_FORMAT, "id \"%s\" is not the file's name", c->id);
        xfree(text);
    }
    if (s == OK) {
        json_write(&small, v);
        buf_printf(out, "    {\"%s\",\n     ", base_name(path));
        put_literal(out, &small);
        buf_puts(out, "},\n");
    }
    buf_clear(&small);
    return s;
}

static bool serves(const struct gpu_config *c, int cc)
{
    for (int i = 0; i < c->match.n_cc; i++)
        if (c->match.cc[i] == cc)
            return true;
    return false;
}

/* Is there a family of both? The parent may be that family. */
static bool related(const struct gpu_config *all, int n, const struct gpu_config *parent, int cc)
{
    for (int i = 0; i < n; i++)
        if (strncmp(all[i].id, "family-", strlen("family-")) == 0 && serves(&all[i], cc) &&
            (&all[i] == parent || (parent->match.n_cc && serves(&all[i], parent->match.cc[0]))))
            return true;
    return false;
}

static enum status check_parent(const struct gpu_config *all, int n, const struct gpu_config *c)
{
    const struct gpu_config *parent = NULL;
    if (c->from.kind != GPU_DERIVED)
        return OK;
    for (int i = 0; i < n; i++)
        if (strcmp(all[i].id, c->from.parent) == 0)
            parent = &all[i];
    if (!parent)
        return fail(ERR_FORMAT, "provenance.parent: %s is not there", c->from.parent);
    if (parent->from.kind == GPU_DERIVED)
        return fail(ERR_FORMAT, "provenance.parent: %s is itself derived", parent->id);
    for (int i = 0; i < c->match.n_cc; i++)
        if (!related(all, n, parent, c->match.cc[i]))
            return fail(ERR_FORMAT, "provenance.parent: %s is of another architecture", parent->id);
    return OK;
}

int main(int argc, char **argv)
{
    struct arena a;
    struct buf out = {0};
    int bad = argc < 3, n = argc - 2;
    arena_init(&a, 0);
    struct gpu_config *all = arena_calloc(&a, ((size_t)(n > 0 ? n : 0) + 1) * sizeof *all);
    buf_puts(&out, "/* Made by kernels/configs/embed.c. */\n#include \"kernels/gpu/select.h\"\n\n"
                   "const struct gpu_embedded gpu_embedded[] = {\n");
    for (int i = 0; i < n; i++)
        if (embed(&a, argv[i + 2], &all[i], &out) != OK) {
            fprintf(stderr, "%s: %s\n", argv[i + 2], fail_text());
            bad = 1;
        }
    for (int i = 0; i < n && !bad; i++)
        if (check_parent(all, n, &all[i]) != OK) {
            fprintf(stderr, "%s: %s\n", argv[i + 2], fail_text());
            bad = 1;
        }
    buf_puts(&out, "    {0, 0},\n};\n");
    FILE *f = bad ? NULL : fopen(argv[1], "w");
    bad |= !f || fwrite(out.data, 1, out.len, f) != out.len;
    bad |= f && fclose(f) != 0;
    buf_clear(&out);
    arena_clear(&a);
    return bad;
}
