/* hf.c - which files of a Hugging Face directory are the checkpoint, and their tensors as one list.
 *
 * Named may be the directory, its config.json, the index of its shards, or a safetensors file: one
 * that the index does not list is taken alone (some directories hold several quantisations). */
#include "engine/load/hf.h"

#include <dirent.h>
#include <string.h>

#include "engine/load/foreign.h"
#include "engine/load/hf_config.h"
#include "engine/load/hf_keys.h"
#include "engine/load/hf_quant.h"
#include "engine/load/made.h"
#include "engine/load/safetensors.h"

enum { MAX_SHARDS = 4096 };
#define SUFFIX ".safetensors"
#define INDEX  ".safetensors.index.json"
#define PREFIX "model."
#define TABLE  PREFIX "embed_tokens.weight"
#define HEAD   "lm_head.weight"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n >= e && strcmp(s + n - e, end) == 0;
}

static bool match(struct bytes file)
{
    size_t at = 0;

    while (at < file.n && file.p[at] && strchr(" \t\r\n", file.p[at]))
        at++;
    return safetensors_match(file) || (at < file.n && file.p[at] == '{');
}

static enum status too_large(void)
{
    return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

/* "dir/" of "dir/file"; "" of a bare name. */
static char *folder_of(struct arena *a, const char *path)
{
    const char *end = strrchr(path, '/');

    return arena_strndup(a, path, end ? (size_t)(end + 1 - path) : 0);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Of how many "x-00002-of-00003.safetensors" is one, 0: of none; and how long "x" is. */
static int parts_of(const char *path, int *stem)
{
    static const char shape[] = "-00000-of-00000" SUFFIX;
    size_t n = strlen(path), e = sizeof shape - 1;
    const char *p = path + n - e;
    int count = 0;

    if (n <= e)
        return 0;
    for (size_t i = 0; i < e; i++) {
        bool digit = p[i] >= '0' && p[i] <= '9';

        if (shape[i] == '0' ? !digit : p[i] != shape[i])
            return 0;
        if (digit)
            count = i < 10 ? 0 : count * 10 + (p[i] - '0'); /* those behind "-of-" */
    }
    *stem = (int)(n - e);
    return count;
}

/* Parts of one checkpoint: any of them stands for all. */
static bool same_parts(const char *a, const char *b)
{
    int n, m;

    return parts_of(a, &n) > 0 && parts_of(a, &n) == parts_of(b, &m) && n == m &&
           memcmp(a, b, (size_t)n) == 0;
}

/* The one file in `folder` that ends in `end`; NULL: none. Two are too many to guess. */
static enum status only_file(struct checkpoint *c, const char *folder, const char *end,
                             char **found)
{
    DIR *dir = c->lent ? NULL : opendir(*folder ? folder : ".");
    struct dirent *e;
    enum status s = OK;

    *found = NULL;
    while (dir && s == OK && (e = readdir(dir))) {
        if (!ends_with(e->d_name, end) ||
            (*found && same_parts(*found + strlen(folder), e->d_name)))
            continue;
        if (*found)
            s = fail(ERR_FORMAT,
                     "several files end in %s and no index says which are meant: name one", end);
        *found = arena_printf(&c->arena, "%s%s", folder, e->d_name);
        if (!*found)
            s = too_large();
    }
    if (dir)
        closedir(dir);
    return s;
}

/* Where the weights are: `*index`, or `*single`. */
static enum status find_weights(struct checkpoint *c, const char *folder, char **index,
                                char **single)
{
    *index = arena_printf(&c->arena, "%smodel" INDEX, folder);
    *single = arena_printf(&c->arena, "%smodel" SUFFIX, folder);
    if (!*index || !*single)
        return too_large();
    if (!checkpoint_has_file(c, *index))
        *index = NULL;
    if (!checkpoint_has_file(c, *single))
        *single = NULL;
    if (*single) /* as Transformers: the index may be that of a checkpoint that lay here before */
        *index = NULL;
    if (!*index && !*single)
        TRY(only_file(c, folder, INDEX, index));
    if (!*index && !*single)
        TRY(only_file(c, folder, SUFFIX, single));
    return *index || *single ? OK
                             : fail(ERR_NOT_FOUND,
                                    "there are no safetensors (pickled weights, .bin and .pth, are "
                                    "not read: convert them)");
}

/* ---- shards ---------------------------------------------------------------------------------- */

struct shards {
    struct checkpoint *c;
    const char *folder;
    struct st_table *table;
    int first, last; /* files before the first shard; the one that was met last */
    bool *read;      /* [first + MAX_SHARDS] */
    bool check;      /* second walk: no tensor is elsewhere than the index says */
};

static bool file_is(const struct shards *w, int i, struct bytes name)
{
    return bytes_equal(name, w->c->file_path[i] + strlen(w->folder));
}

static enum status find_shard(struct shards *w, struct bytes name, int *out)
{
    struct checkpoint *c = w->c;
    char *path;

    for (int i = w->last; i < c->n_files; i++) {
        *out = i;
        if (file_is(w, i, name))
            return OK;
    }
    for (*out = 0; *out < c->n_files; ++*out) {
        if (file_is(w, *out, name))
            return OK;
    }
    if (c->n_files - w->first >= MAX_SHARDS)
        return fail(ERR_TOO_LARGE, "has more than %d files", MAX_SHARDS);
    if (name.n == 0 || memchr(name.p, '/', name.n) || memchr(name.p, '\0', name.n))
        return fail(ERR_FORMAT, "\"%.*s\" is not the name of a file beside it",
                    (int)(name.n < 64 ? name.n : 64), name.p);
    path = arena_printf(&c->arena, "%s%.*s", w->folder, (int)name.n, name.p);
    if (!path)
        return too_large();
    TRY(checkpoint_add_file(c, path));
    *out = c->n_files - 1;
    return OK;
}

static enum status read_shard(struct checkpoint *c, int file, struct st_table *t)
{
    const struct foreign *k =
        foreign_file((struct bytes){(const char *)c->file[file].data, c->file[file].size});
    enum status s = k ? fail(ERR_FORMAT, "is %s: %s", k->is, k->why) : safetensors_read(c, file, t);

    return s == OK ? OK : fail_in(s, "%s", c->file_path[file]);
}

static enum status check_place(const struct shards *w, struct bytes tensor)
{
    const struct ckpt_tensor *t;
    char name[256];

    if (tensor.n >= sizeof name)
        return OK;
    memcpy(name, tensor.p, tensor.n);
    name[tensor.n] = '\0';
    t = checkpoint_tensor(w->c, name);
    return !t || t->file == w->last
               ? OK
               : fail(ERR_FORMAT, "tensor %s is not in %s, where the index has it", name,
                      w->c->file_path[w->last]);
}

static enum status each_tensor(void *ctx, struct bytes tensor, struct bytes file)
{
    struct shards *w = ctx;

    TRY(find_shard(w, file, &w->last));
    if (w->check)
        return check_place(w, tensor);
    if (w->read[w->last])
        return OK;
    w->read[w->last] = true;
    return read_shard(w->c, w->last, w->table);
}

/* The raw tensors of all files become c->tensor. */
static enum status adopt(struct checkpoint *c, const struct st_table *t)
{
    c->tensor = arena_alloc(&c->arena, (size_t)(t->n + 1) * sizeof *c->tensor);
    if (!c->tensor)
        return too_large();
    if (t->n)
        memcpy(c->tensor, t->tensor, (size_t)t->n * sizeof *c->tensor);
    c->n_tensors = t->n;
    return checkpoint_index(c);
}

static enum status read_index(struct checkpoint *c, const char *folder, int file,
                              struct st_table *t)
{
    struct bytes json = {(const char *)c->file[file].data, c->file[file].size};
    struct shards w = {.c = c, .folder = folder, .table = t, .first = c->n_files, .last = file};
    enum status s;

    w.read = xcalloc((size_t)w.first + MAX_SHARDS, sizeof *w.read);
    s = safetensors_index(json, each_tensor, &w);
    xfree(w.read);
    if (s == OK)
        s = adopt(c, t);
    w.check = true;
    if (s == OK)
        s = safetensors_index(json, each_tensor, &w);
    return s;
}

/* Shards without an index: all parts of which `name` is one. */
static enum status read_parts(struct checkpoint *c, const char *name, struct st_table *t)
{
    int stem, n = parts_of(name, &stem);

    if (n > MAX_SHARDS)
        return fail(ERR_TOO_LARGE, "has more than %d files", MAX_SHARDS);
    for (int i = 1; i <= n; i++) {
        char *path = arena_printf(&c->arena, "%.*s-%05d-of-%05d" SUFFIX, stem, name, i, n);
        bool named = path && strcmp(path, c->file_path[0]) == 0;

        if (!path)
            return too_large();
        if (!named)
            TRY(checkpoint_add_file(c, path));
        TRY(read_shard(c, named ? 0 : c->n_files - 1, t));
    }
    return adopt(c, t);
}

/* ---- the list -------------------------------------------------------------------------------- */

static bool flag(const struct checkpoint *c, const char *key)
{
    const struct value *v = checkpoint_key(c, key);

    return v && v->kind == VALUE_BOOL && v->integer;
}

/* Is the head the table once more? Its bytes are then not needed again. */
static bool repeats(const struct checkpoint *c, const struct ckpt_tensor *head,
                    const struct ckpt_tensor *table)
{
    bool same = !head->made && !table->made && head->type_number == table->type_number &&
                head->bytes == table->bytes &&
                memcmp(c->file[head->file].data + head->offset,
                       c->file[table->file].data + table->offset, head->bytes) == 0;

    if (same)
        file_map_drop(&c->file[head->file], head->offset, head->bytes);
    return same;
}

/* Tables that old exporters saved, and a tied head that is the table. One that differs from it
 * counts, whatever the configuration says: so does Transformers since its version 5. */
static bool ignored(const struct checkpoint *c, const struct ckpt_tensor *t,
                    const struct ckpt_tensor *table)
{
    return ends_with(t->name, ".rotary_emb.inv_freq") ||
           (strcmp(t->name, HEAD) == 0 && flag(c, "tie_word_embeddings") && table->bytes &&
            repeats(c, t, table));
}

/* Drops what is ignored; networks saved without their head lack the prefix "model."; of a tied
 * table some savers keep the head's name. */
static enum status settle_names(struct checkpoint *c)
{
    const struct ckpt_tensor *full = checkpoint_tensor(c, TABLE), *short_name = NULL;
    struct ckpt_tensor table = {0}; /* a copy: the list changes */
    int n = 0;

    if (!full)
        short_name = checkpoint_tensor(c, TABLE + strlen(PREFIX));
    if (full || short_name)
        table = full ? *full : *short_name;
    for (int i = 0; i < c->n_tensors; i++) {
        struct ckpt_tensor t = c->tensor[i];

        if (ignored(c, &t, &table))
            continue;
        if (!table.bytes && flag(c, "tie_word_embeddings") && strcmp(t.name, HEAD) == 0)
            t.name = TABLE;
        if (short_name && strncmp(t.name, "lm_head.", 8) != 0)
            t.name = arena_printf(&c->arena, PREFIX "%s", t.name);
        if (!t.name)
            return too_large();
        c->tensor[n++] = t;
    }
    c->n_tensors = n;
    return checkpoint_index(c);
}

/* Opens and reads the weights: through an index, or one file. */
static enum status read_weights(struct checkpoint *c, const char *folder, struct st_table *t)
{
    const char *named = c->file_path[0];
    char *index = NULL, *single = NULL;
    int file = 0, stem;
    enum status s;

    if (ends_with(named, INDEX)) {
        index = c->file_path[0];
    } else {
        if (ends_with(named, SUFFIX) && !strstr(named, "-of-"))
            single = c->file_path[0];
        else
            TRY(find_weights(c, folder, &index, &single));
    }
    if (!index && parts_of(single, &stem))
        return read_parts(c, single, t);
    if (strcmp(index ? index : single, named) != 0) {
        TRY(checkpoint_add_file(c, index ? index : single));
        file = c->n_files - 1;
    }
    if (!index) {
        TRY(read_shard(c, file, t));
        return adopt(c, t);
    }
    s = read_index(c, folder, file, t);
    return s == OK ? OK : fail_in(s, "%s", c->file_path[file]);
}

static bool is_adapter(const struct checkpoint *c)
{
    for (int i = 0; i < c->n_tensors; i++) {
        if (strstr(c->tensor[i].name, ".lora_") || strstr(c->tensor[i].name, "lora_A"))
            return true;
    }
    return false;
}

/* Weights that nothing says a network of: to be looked at, not run. */
static enum status read_alone(struct checkpoint *c)
{
    struct st_table table = {0};
    enum status s = read_shard(c, 0, &table);

    if (s == OK)
        s = adopt(c, &table);
    xfree(table.tensor);
    TRY(s);
    c->refusal = is_adapter(c) ? "is a LoRA adapter, which is not loaded: merge it into its base "
                                 "model"
                               : "there is no config.json beside it, which would say what network "
                                 "it is";
    return OK;
}

static enum status hf_read(struct checkpoint *c)
{
    char *folder = folder_of(&c->arena, c->file_path[0]);
    const struct json *config;
    struct st_table table = {0};
    enum status s;

    if (!folder)
        return too_large();
    s = hf_config_read(c, folder, &config);
    if (s == ERR_NOT_FOUND && ends_with(c->file_path[0], SUFFIX))
        return read_alone(c);
    TRY(s);
    s = read_weights(c, folder, &table);
    xfree(table.tensor);
    TRY(s);
    TRY(hf_quant(c));
    return settle_names(c);
}

const struct checkpoint_format hf_format = {
    .name = "Hugging Face directory",
    .names = NAMES_HF,
    .match = match,
    .read = hf_read,
    .at = hf_keys_at,
    .strings = hf_keys_strings,
    .fill = made_fill,
    .type_name = safetensors_type_name,
    .packing = hf_quant_packing,
};
