/* inspect.c - what a checkpoint is, as text for people: hyper-parameters, tokenizer, tensors; and,
 * when it cannot be run, why. Reads the header only. */
#include "engine/engine.h"

#include <string.h>

#include "engine/load/checkpoint.h"
#include "engine/load/foreign.h"
#include "engine/load/model.h"
#include "engine/load/lexicon.h"
#include "kernels/base/utf8.h"

enum { TEXT_MOST = 96 }; /* bytes shown of a long string */

/* A string on one line, cut between characters; control characters as spaces, and so what is no
 * UTF-8: nothing that a terminal would obey. */
static void put_text(struct buf *out, struct bytes s)
{
    size_t n = 0;

    while (n < s.n && n < TEXT_MOST) {
        uint32_t cp;
        int bytes = utf8_decode(s.p + n, s.n - n, &cp);

        if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0xfffd)
            buf_putc(out, ' ');
        else
            buf_append(out, s.p + n, (size_t)bytes);
        n += (size_t)bytes;
    }
    if (n < s.n)
        buf_printf(out, "... (%zu bytes)", s.n);
}

static void put_value(struct buf *out, const struct value *v)
{
    unsigned long long whole = (unsigned long long)v->integer;

    switch (v->kind) {
    case VALUE_BOOL:
        buf_puts(out, v->integer ? "true" : "false");
        break;
    case VALUE_INT:
        if (v->integer == INT64_MAX && v->text.n == sizeof whole) /* the most that it holds */
            memcpy(&whole, v->text.p, sizeof whole);
        if (v->integer < 0)
            buf_printf(out, "%lld", (long long)v->integer);
        else
            buf_printf(out, "%llu", whole);
        break;
    case VALUE_FLOAT:
        buf_printf(out, "%g", v->number);
        break;
    case VALUE_STRING:
        put_text(out, v->text);
        break;
    case VALUE_ARRAY:
        buf_printf(out, "%lld %s", (long long)v->n,
                   v->elem == VALUE_STRING ? "strings" : "numbers");
        break;
    }
}

static void put_keys(struct buf *out, const struct checkpoint *c)
{
    buf_printf(out, "\nkeys (%d)\n", c->n_keys);
    for (int i = 0; i < c->n_keys; i++) {
        buf_printf(out, "  %-44s ", c->key[i].name);
        put_value(out, &c->key[i].value);
        buf_putc(out, '\n');
    }
}

static void put_tensors(struct buf *out, const struct checkpoint *c)
{
    double elements = 0, bytes = 0;

    buf_printf(out, "\ntensors (%d)\n", c->n_tensors);
    for (int i = 0; i < c->n_tensors; i++) {
        const struct ckpt_tensor *t = &c->tensor[i];
        size_t start = out->len;
        double n = 1;

        buf_printf(out, "  %-36s %-6s [", t->name, checkpoint_type_name(c, t));
        for (int d = 0; d < t->ndim; d++) {
            buf_printf(out, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
            n *= (double)t->shape[d];
        }
        buf_putc(out, ']');
        while (out->len - start < 66)
            buf_putc(out, ' ');
        if (t->dtype >= 0 && t->made && c->format->packing)
            buf_printf(out, " %12zu  from %s\n", t->bytes, c->format->packing(t));
        else if (t->dtype >= 0)
            buf_printf(out, " %12zu\n", t->bytes);
        else
            buf_puts(out, "  unsupported\n");
        elements += n;
        bytes += t->dtype >= 0 ? (double)t->bytes : 0;
    }
    buf_printf(out, "\ntotal      %.2f M parameters, %.1f MiB\n", elements / 1e6,
               bytes / (1 << 20));
}

static void put_network(struct buf *out, const struct model *m)
{
    const struct hparams *hp = &m->net.hp;

    buf_printf(out, "network    %s: %d layers, embedding %d, feed-forward %d\n", m->info.arch,
               hp->n_layer, hp->n_embd, hp->n_ff);
    buf_printf(out, "attention  %d heads, %d key heads, head size %d\n", hp->n_head, hp->n_kv_head,
               hp->head_dim);
    buf_printf(out, "context    %d tokens, rotary base %g over %d dimensions\n", hp->n_ctx,
               (double)hp->rope_base, hp->rope_dim);
    buf_printf(out, "vocabulary %d tokens, BOS %s, EOS %s, chat template %s\n", m->info.n_vocab,
               *m->info.bos ? m->info.bos : "none", *m->info.eos ? m->info.eos : "none",
               m->chat         ? "yes"
               : m->chat_error ? m->chat_error
                               : "none");
}

/* What it is, if it is something else; else `s`, why it could not be opened. */
static enum status describe_other(const char *path, enum status s, struct buf *out)
{
    char *why = xstrdup(fail_text());
    bool known = foreign_describe(path, out);

    if (!known)
        s = fail(s, "%s", why);
    xfree(why);
    return known ? OK : s;
}

enum status engine_inspect(const char *path, struct buf *out)
{
    struct checkpoint *c;
    struct model *m;
    enum status s = checkpoint_look(path, &c);

    if (s != OK)
        return describe_other(path, s, out);
    buf_printf(out, "file       %s\n", path);
    buf_printf(out, "format     %s", c->format->name);
    if (c->version)
        buf_printf(out, " version %d", c->version);
    buf_printf(out, ", %zu bytes", checkpoint_bytes(c));
    if (c->n_files > 1)
        buf_printf(out, " in %d files", c->n_files);
    buf_putc(out, '\n');
    if (model_open(path, NULL, &m) == OK) {
        put_network(out, m);
        model_close(m);
    } else {
        buf_printf(out, "cannot run %s\n", fail_text());
    }
    if (c->n_keys > 0 || c->n_tensors > 0) {
        put_keys(out, c);
        put_tensors(out, c);
    }
    checkpoint_close(c);
    return OK;
}
