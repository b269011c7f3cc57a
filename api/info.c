/* info.c - what runs here, in NIM's shapes. Of a path only the file's name is told. */
#include "api/info.h"

#include <string.h>

#include "kernels/base/json.h"

static void write_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    json_write_string(out, text, strlen(text));
}

enum status info_version(struct api *a, struct call *c)
{
    buf_putc(&c->out, '{');
    write_text(&c->out, "release", a->o.version);
    buf_puts(&c->out, ",\"api\":\"1.0.0\"}");
    call_reply_json(c, 200);
    return OK;
}

enum status info_metadata(struct api *a, struct call *c)
{
    struct buf *out = &c->out;
    const struct model_info *i;
    const struct model *m;
    const char *slash;

    TRY(call_model(a, &m));
    i = model_info(m);
    slash = strrchr(i->path, '/');
    buf_putc(out, '{');
    write_text(out, "version", a->o.version);
    buf_puts(out, ",\"modelInfo\":[{");
    write_text(out, "shortName", i->id);
    buf_putc(out, ',');
    write_text(out, "modelUrl", slash ? slash + 1 : i->path);
    buf_puts(out, "}],\"assetInfo\":[],\"repository_override\":\"\",");
    write_text(out, "arch", i->arch);
    buf_putc(out, ',');
    write_text(out, "format", i->format);
    buf_putc(out, ',');
    write_text(out, "device", i->device);
    buf_putc(out, ',');
    write_text(out, "kernels", i->kernels);
    buf_printf(out, ",\"layers\":%d,\"gpu_layers\":%d", i->n_layers, i->gpu_layers);
    if (i->gpu && *i->gpu)
        buf_printf(out, ",\"gpu_config\":%s", i->gpu);
    buf_puts(out, "}");
    call_reply_json(c, 200);
    return OK;
}
