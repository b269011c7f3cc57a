/* fuzz_gguf.c - any bytes as a GGUF file, or as several parts of one: refused with a message that
 * names it, or a checkpoint whose every key and tensor can be read, and whose memory is bounded by
 * the files' size.
 *
 * Parts: 'S', their number n, n x u32 lengths, the bytes of each. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/bind.h"
#include "engine/load/checkpoint.h"
#include "engine/load/hparams.h"
#include "engine/load/recipe.h"

enum { MAX_PARTS = 4, MAX_NAME = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void read_keys(const struct checkpoint *c)
{
    for (int i = 0; i < c->n_keys; i++) {
        const struct value *v = checkpoint_key(c, c->key[i].name);
        struct value e;

        require(v == &c->key[i].value);
        if (v->kind != VALUE_ARRAY || v->n == 0)
            continue;
        if (v->elem == VALUE_STRING) {
            struct bytes *s = xmalloc((size_t)v->n * sizeof *s);

            require(checkpoint_strings(c, v, s));
            xfree(s);
        } else {
            require(checkpoint_at(c, v, v->n - 1, &e) && !checkpoint_at(c, v, v->n, &e));
        }
    }
}

static unsigned read_tensors(const struct checkpoint *c)
{
    unsigned sum = 0;

    for (int i = 0; i < c->n_tensors; i++) {
        const struct ckpt_tensor *t = &c->tensor[i];
        size_t n = c->file[t->file].size;

        require(checkpoint_tensor(c, t->name) == t && checkpoint_type_name(t));
        require(t->offset <= n && t->bytes <= n - t->offset);
        if (t->dtype >= 0) {
            struct tensor v = checkpoint_view(c, t);
            const unsigned char *last = (const unsigned char *)v.data + t->bytes - 1;

            require(t->bytes > 0 && tensor_bytes(&v) == t->bytes);
            sum += *last; /* the last byte is there to be read */
        }
    }
    return sum;
}

/* As model_open does, without a vocabulary: hyper-parameters, then every weight by name. */
static void bind(const struct checkpoint *c)
{
    const struct value *a = checkpoint_key(c, "general.architecture");
    const struct recipe *r = NULL;
    struct placement p = {0};
    struct net *net;

    for (int i = 0; recipe_at(i) && a && a->kind == VALUE_STRING; i++) {
        if (bytes_equal(a->text, recipe_at(i)->architecture))
            r = recipe_at(i);
    }
    if (!r)
        return;
    net = xcalloc(1, sizeof *net);
    net->arch = r->arch;
    if (hparams_read(c, r->architecture, r->arch->hparams, &net->hp) == OK) {
        net->layer = xcalloc((size_t)net->hp.n_layer, sizeof *net->layer);
        if (bind_weights(c, r, net, &p) != OK)
            require(*fail_text());
        xfree(net->layer);
    }
    bind_clear(&p);
    xfree(net);
}

/* Names the parts of a container and cuts them out of it; a length that is too great is cut. */
static int cut(const uint8_t *data, size_t n, char names[][MAX_NAME], struct ckpt_lent *lent)
{
    int count = n > 1 ? 1 + data[1] % MAX_PARTS : 1;
    size_t at = 2 + 4 * (size_t)count;

    if (n < at)
        return 0;
    for (int i = 0; i < count; i++) {
        uint32_t length;

        memcpy(&length, data + 2 + 4 * i, sizeof length);
        length = length < n - at ? length : (uint32_t)(n - at);
        snprintf(names[i], MAX_NAME, "file-%05d-of-%05d.gguf", i + 1, count);
        lent[i] = (struct ckpt_lent){names[i], {(const char *)data + at, length}};
        at += length;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ckpt_lent lent[MAX_PARTS] = {{"file", {(const char *)data, n}}};
    char names[MAX_PARTS][MAX_NAME];
    struct checkpoint *c;
    int count = 1;

    if (n > 0 && data[0] == 'S')
        count = cut(data, n, names, lent);
    if (count == 0)
        return 0;
    if (checkpoint_borrow(lent, count, &c) != OK) {
        require(!c && strncmp(fail_text(), "file", 4) == 0);
        return 0;
    }
    require(c->arena.used <= checkpoint_bytes(c) + (32u << 20));
    read_keys(c);
    require(read_tensors(c) <= 255u * (unsigned)c->n_tensors);
    bind(c);
    checkpoint_close(c);
    return 0;
}
