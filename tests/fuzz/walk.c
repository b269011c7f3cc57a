/* walk.c - what must hold of every checkpoint that was opened, for the fuzz targets of its formats.
 */
#include "tests/fuzz/walk.h"

#include <stdlib.h>
#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/generation.h"
#include "engine/load/hparams.h"
#include "engine/load/lexicon.h"
#include "engine/load/mix.h"
#include "engine/load/outline.h"
#include "engine/load/recipe.h"

void walk_require(bool holds)
{
    if (!holds)
        abort();
}

static void read_keys(const struct checkpoint *c)
{
    for (int i = 0; i < c->n_keys; i++) {
        const struct value *v = checkpoint_key(c, c->key[i].name);
        struct value e;

        walk_require(v == &c->key[i].value);
        if (v->kind != VALUE_ARRAY || v->n == 0)
            continue;
        if (v->elem == VALUE_STRING) {
            struct bytes *s = xmalloc((size_t)v->n * sizeof *s);

            walk_require(checkpoint_strings(c, v, s));
            xfree(s);
        } else {
            walk_require(checkpoint_at(c, v, v->n - 1, &e) && !checkpoint_at(c, v, v->n, &e));
        }
    }
}

/* Bytes that are made at load: all of them, whatever the sources hold. */
static void make(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    void *out = xmalloc(t->bytes);

    if (c->format->fill(c, t, out) != OK)
        walk_require(*fail_text());
    xfree(out);
}

static unsigned read_tensors(const struct checkpoint *c)
{
    unsigned sum = 0;

    for (int i = 0; i < c->n_tensors; i++) {
        const struct ckpt_tensor *t = &c->tensor[i];
        size_t n = c->file[t->file].size;

        if (t->made) {
            make(c, t);
            continue;
        }

        walk_require(checkpoint_tensor(c, t->name) == t && checkpoint_type_name(c, t));
        walk_require(t->offset <= n && t->bytes <= n - t->offset);
        if (t->dtype >= 0) {
            struct tensor v = checkpoint_view(c, t);
            const unsigned char *last = (const unsigned char *)v.data + t->bytes - 1;

            walk_require(tensor_bytes(&v) == t->bytes);
            sum += t->bytes ? *last : 0; /* the last byte is there to be read */
        }
    }
    return sum;
}

/* As model_open does, without a vocabulary: hyper-parameters, then every weight by name. */
static void bind(const struct checkpoint *c)
{
    bool hf = c->format->names == NAMES_HF;
    const struct value *a = checkpoint_key(c, hf ? "model_type" : "general.architecture");
    const struct recipe *r = NULL;
    struct placement p = {0};
    struct net *net;

    for (int i = 0; recipe_at(i) && a && a->kind == VALUE_STRING; i++) {
        if (bytes_equal(a->text, recipe_at(i)->architecture)) /* as in both columns */
            r = recipe_at(i);
    }
    if (!r)
        return;
    net = xcalloc(1, sizeof *net);
    net->arch = r->arch;
    if (hparams_read(c, r->architecture, r->arch->hparams, &net->hp) == OK) {
        net->layer = xcalloc((size_t)net->hp.n_layer, sizeof *net->layer);
        if (bind_weights(c, r, net, &p) != OK)
            walk_require(*fail_text());
        xfree(net->layer);
    }
    bind_clear(&p);
    xfree(net);
}

/* As quantize_file plans it: which tensors there would be, from which rows. */
static void outline(const struct checkpoint *c)
{
    struct outline o;

    if (outline_open(&o, c) != OK)
        walk_require(*fail_text());
    for (int i = 0; i < o.n; i++) {
        const struct outline_tensor *t = &o.tensor[i];
        int64_t rows = t->src->ndim > 1 || t->heads ? t->src->shape[0] : 1;

        walk_require(t->factor > 0 && *t->name);
        for (int64_t r = 0; r < rows && r < 64; r++)
            walk_require(outline_row(t, r) >= 0 && outline_row(t, r) < rows);
        (void)mix_type(mix_find("q4_k_m"), &o.model, t->name);
    }
    outline_close(&o);
}

void walk_checkpoint(const struct checkpoint *c)
{
    static const char *const templates[] = {LEXICON_CHAT, LEXICON_TOOLS};
    struct generation g;

    walk_require(c->arena.used <= checkpoint_bytes(c) + (32u << 20));
    read_keys(c);
    walk_require(read_tensors(c) <= 255u * (unsigned)c->n_tensors);
    bind(c);
    outline(c);
    generation_read(c, &g);
    (void)lexicon_size(c);
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        const struct value *v = lexicon_template(c, templates[i]);

        walk_require(!v || v->kind == VALUE_STRING);
    }
}
