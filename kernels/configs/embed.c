/* embed.c - at build time: checks configs and writes them, without spaces, into one C file.
 *
 * usage: embed OUT.c CONFIG.json ...     exits 1 and names the file when one breaks a rule */
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

static enum status embed(const char *path, struct buf *out)
{
    struct arena a;
    struct gpu_config c;
    const struct json *v;
    struct buf small = {0};
    char *text;
    size_t n;
    arena_init(&a, 0);
    enum status s = file_read(path, GPU_FILE_MAX, &text, &n);
    if (s == OK) {
        s = gpu_config_read(&a, text, n, &c);
        if (s == OK)
            s = gpu_check(&c);
        if (s == OK)
            s = json_parse(&a, text, n, &v);
        size_t id = s == OK ? strlen(c.id) : 0;
        if (s == OK &&
            (strncmp(base_name(path), c.id, id) != 0 || strcmp(base_name(path) + id, ".json") != 0))
            s = fail(ERR_FORMAT, "id \"%s\" is not the file's name", c.id);
        xfree(text);
    }
    if (s == OK) {
        json_write(&small, v);
        buf_printf(out, "    {\"%s\",\n     ", base_name(path));
        put_literal(out, &small);
        buf_puts(out, "},\n");
    }
    buf_clear(&small);
    arena_clear(&a);
    return s;
}

int main(int argc, char **argv)
{
    struct buf out = {0};
    int bad = argc < 3;
    buf_puts(&out, "/* Made by kernels/configs/embed.c. */\n#include \"kernels/gpu/select.h\"\n\n"
                   "const struct gpu_embedded gpu_embedded[] = {\n");
    for (int i = 2; i < argc; i++)
        if (embed(argv[i], &out) != OK) {
            fprintf(stderr, "%s: %s\n", argv[i], fail_text());
            bad = 1;
        }
    buf_puts(&out, "    {0, 0},\n};\n");
    FILE *f = bad ? NULL : fopen(argv[1], "w");
    bad |= !f || fwrite(out.data, 1, out.len, f) != out.len;
    bad |= f && fclose(f) != 0;
    buf_clear(&out);
    return bad;
}
