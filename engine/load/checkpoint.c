/* checkpoint.c - opening a file by the format that recognises it, and looking names up.
 *
 * Names are looked up by binary search in sorted arrays of pointers: they cost a word a name, which
 * keeps what a hostile header can make us allocate below the file's own size and a constant. */
#include "engine/load/checkpoint.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/load/gguf.h"
#include "engine/load/hf.h"
#include "engine/load/foreign.h"
#include "kernels/base/utf8.h"

enum { MAX_NAME = 1024 };

/* Room for keys and tensors of the largest header a reader accepts, beside the file's own bytes. */
enum { ARENA_CONSTANT = 32 << 20 };

static const struct checkpoint_format *const formats[] = {
    &gguf_format,
    &hf_format,
};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

const char *checkpoint_formats(void)
{
    static const char *const names = "GGUF files, Hugging Face directories with safetensors";

    return names;
}

static int compare_keys(const void *a, const void *b)
{
    const struct ckpt_key *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int compare_tensors(const void *a, const void *b)
{
    const struct ckpt_tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Sorts both name tables; a name that stands twice is refused. */
enum status checkpoint_index(struct checkpoint *c)
{
    c->key_by_name = arena_alloc(&c->arena, (size_t)c->n_keys * sizeof *c->key_by_name);
    c->tensor_by_name = arena_alloc(&c->arena, (size_t)c->n_tensors * sizeof *c->tensor_by_name);
    if (!c->key_by_name || !c->tensor_by_name)
        return fail(ERR_TOO_LARGE, "the header is larger than its file allows");
    for (int i = 0; i < c->n_keys; i++)
        c->key_by_name[i] = &c->key[i];
    for (int i = 0; i < c->n_tensors; i++)
        c->tensor_by_name[i] = &c->tensor[i];
    qsort(c->key_by_name, (size_t)c->n_keys, sizeof *c->key_by_name, compare_keys);
    qsort(c->tensor_by_name, (size_t)c->n_tensors, sizeof *c->tensor_by_name, compare_tensors);
    for (int i = 1; i < c->n_keys; i++) {
        if (strcmp(c->key_by_name[i - 1]->name, c->key_by_name[i]->name) == 0)
            return fail(ERR_FORMAT, "key %s stands twice", c->key_by_name[i]->name);
    }
    for (int i = 1; i < c->n_tensors; i++) {
        if (strcmp(c->tensor_by_name[i - 1]->name, c->tensor_by_name[i]->name) == 0)
            return fail(ERR_FORMAT, "tensor %s stands twice", c->tensor_by_name[i]->name);
    }
    return OK;
}

static enum status read_file(struct checkpoint *c)
{
    struct bytes file = {(const char *)c->file[0].data, c->file[0].size};

    for (int i = 0; i < N_FORMATS && !c->format; i++) {
        if (formats[i]->match(file))
            c->format = formats[i];
    }
    if (!c->format) {
        const struct foreign *k = foreign_file(file);

        return k ? fail(ERR_UNSUPPORTED, "is %s: %s", k->is, k->why)
                 : fail(ERR_UNSUPPORTED, "not a checkpoint of a known format (supported: %s)",
                        checkpoint_formats());
    }
    TRY(c->format->read(c));
    return checkpoint_index(c);
}

enum status checkpoint_add_file(struct checkpoint *c, const char *path)
{
    struct file_map m = {.fd = -1};
    int i = 0;

    if (c->lent) {
        while (i < c->n_lent && strcmp(c->lent[i].path, path) != 0)
            i++;
        if (i == c->n_lent)
            return fail(ERR_NOT_FOUND, "%s: no such file", path);
        m.data = (const unsigned char *)c->lent[i].bytes.p;
        m.size = c->lent[i].bytes.n;
    } else {
        TRY(file_map_open(path, &m));
    }
    c->file = xrealloc(c->file, (size_t)(c->n_files + 1) * sizeof *c->file);
    c->file_path = xrealloc(c->file_path, (size_t)(c->n_files + 1) * sizeof *c->file_path);
    c->file_path[c->n_files] = xstrdup(path);
    c->file[c->n_files++] = m;
    c->arena.limit += m.size;
    return OK;
}

bool checkpoint_has_file(const struct checkpoint *c, const char *path)
{
    for (int i = 0; i < c->n_lent; i++) {
        if (strcmp(c->lent[i].path, path) == 0)
            return true;
    }
    return !c->lent && access(path, F_OK) == 0;
}

enum status checkpoint_copy_name(struct checkpoint *c, struct bytes name, const char **out)
{
    if (name.n == 0 || name.n > MAX_NAME)
        return fail(ERR_FORMAT, "its name has %zu bytes, expected 1 to %d", name.n, MAX_NAME);
    if (utf8_valid_prefix(name.p, name.n) != name.n)
        return fail(ERR_FORMAT, "its name is not UTF-8");
    for (size_t i = 0; i < name.n; i++) {
        unsigned char b = (unsigned char)name.p[i], before = i ? (unsigned char)name.p[i - 1] : 0;

        if (b < 0x20 || b == 0x7f || (before == 0xc2 && b < 0xa0))
            return fail(ERR_FORMAT, "its name has a control character");
    }
    *out = arena_strndup(&c->arena, name.p, name.n);
    return *out ? OK : fail(ERR_TOO_LARGE, "the header is larger than its file allows");
}

size_t checkpoint_bytes(const struct checkpoint *c)
{
    size_t n = 0;

    for (int i = 0; i < c->n_files; i++)
        n += c->file[i].size;
    return n;
}

/* ---- directories ----------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n >= e && strcmp(s + n - e, end) == 0;
}

/* Ends in -00002-of-00003.gguf or the like. */
static bool is_later_part(const char *name)
{
    static const char digits[] = "0123456789";
    const size_t n = strlen(name), tail = sizeof "-00001-of-00003.gguf" - 1;
    const char *end = n >= tail ? name + n - tail : NULL;

    return end && *end == '-' && strspn(end + 1, digits) == 5 && strncmp(end + 6, "-of-", 4) == 0 &&
           strspn(end + 10, digits) == 5 && strncmp(end, "-00001", 6) != 0;
}

/* A GGUF file that can be meant: no second part, no projector of another modality, and not what it
 * was quantised with. */
static bool may_be_meant(const char *name)
{
    return ends_with(name, ".gguf") && !strstr(name, "mmproj") && !strstr(name, "imatrix") &&
           !is_later_part(name);
}

struct folder {
    char *gguf; /* one of those that can be meant, in the arena */
    int n_gguf;
    bool safetensors;
};

static struct folder look(struct checkpoint *c, const char *path)
{
    struct folder f = {0};
    DIR *dir = opendir(path);
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        f.safetensors = f.safetensors || strstr(e->d_name, ".safetensors");
        if (may_be_meant(e->d_name) && f.n_gguf++ == 0)
            f.gguf =
                arena_printf(&c->arena, "%s%s%s", path, ends_with(path, "/") ? "" : "/", e->d_name);
    }
    if (dir)
        closedir(dir);
    return f;
}

/* "owner/name", as hubs call models, and no path: there is not even a folder of the first name. */
static bool is_name(const char *path)
{
    const char *slash = strchr(path, '/');
    char owner[128];

    if (!slash || slash == path || !slash[1] || strchr(slash + 1, '/') || path[0] == '.' ||
        (size_t)(slash - path) >= sizeof owner || ends_with(path, ".gguf"))
        return false;
    memcpy(owner, path, (size_t)(slash - path));
    owner[slash - path] = '\0';
    return access(owner, F_OK) != 0;
}

/* The file that stands for `path`: of a directory its config.json, or its only GGUF file, as
 * downloads of those have a directory and sometimes a config.json too. */
static enum status add_first(struct checkpoint *c, const char *path)
{
    const struct foreign *k;
    struct folder f;
    struct stat st;
    char *config;

    if (!c->lent && is_name(path))
        return fail(ERR_NOT_FOUND,
                    "there is no %s here, and nothing is downloaded: fetch the model and name its "
                    "directory or file",
                    path);
    if (c->lent || stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return checkpoint_add_file(c, path);
    f = look(c, path);
    config = arena_printf(&c->arena, "%s/config.json", path);
    if (checkpoint_has_file(c, config) && (f.safetensors || f.n_gguf == 0))
        return checkpoint_add_file(c, config);
    if (f.n_gguf == 1 && f.gguf) {
        xfree((void *)(uintptr_t)c->path);
        c->path = xstrdup(f.gguf);
        return checkpoint_add_file(c, f.gguf);
    }
    k = foreign_folder(path);
    return k ? fail(ERR_NOT_FOUND, "%s is %s: %s", path, k->is, k->why)
             : fail(ERR_NOT_FOUND, "%s is a directory without config.json (supported: %s)", path,
                    checkpoint_formats());
}

static enum status open_first(struct checkpoint *c, const char *path, struct checkpoint **out)
{
    enum status s;

    *out = NULL;
    arena_init(&c->arena, ARENA_CONSTANT);
    c->path = xstrdup(path);
    s = add_first(c, path);
    if (s == OK) {
        s = read_file(c);
        if (s != OK)
            fail_in(s, "%s", path);
    }
    if (s == OK)
        *out = c;
    else
        checkpoint_close(c);
    return s;
}

enum status checkpoint_open(const char *path, struct checkpoint **out)
{
    return open_first(xcalloc(1, sizeof(struct checkpoint)), path, out);
}

enum status checkpoint_look(const char *path, struct checkpoint **out)
{
    struct checkpoint *c = xcalloc(1, sizeof *c);

    c->partly = true;
    return open_first(c, path, out);
}

static enum status open_lent(const struct ckpt_lent *lent, int n, bool partly,
                             struct checkpoint **out)
{
    struct checkpoint *c = xcalloc(1, sizeof *c);

    c->lent = lent;
    c->n_lent = n;
    c->partly = partly;
    return open_first(c, lent[0].path, out);
}

enum status checkpoint_borrow(const struct ckpt_lent *lent, int n, struct checkpoint **out)
{
    return open_lent(lent, n, false, out);
}

enum status checkpoint_look_at(const struct ckpt_lent *lent, int n, struct checkpoint **out)
{
    return open_lent(lent, n, true, out);
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n_files && !c->lent; i++)
        file_map_close(&c->file[i]);
    for (int i = 0; i < c->n_files; i++)
        xfree(c->file_path[i]);
    xfree(c->file_path);
    xfree(c->file);
    arena_clear(&c->arena);
    xfree((char *)(uintptr_t)c->path);
    xfree(c);
}

const struct value *checkpoint_key(const struct checkpoint *c, const char *name)
{
    struct ckpt_key want = {.name = name};
    const struct ckpt_key *w = &want, **hit;

    hit = bsearch(&w, c->key_by_name, (size_t)c->n_keys, sizeof *c->key_by_name, compare_keys);
    return hit ? &(*hit)->value : NULL;
}

const struct ckpt_tensor *checkpoint_tensor(const struct checkpoint *c, const char *name)
{
    struct ckpt_tensor want = {.name = name};
    const struct ckpt_tensor *w = &want, **hit;

    hit = bsearch(&w, c->tensor_by_name, (size_t)c->n_tensors, sizeof *c->tensor_by_name,
                  compare_tensors);
    return hit ? *hit : NULL;
}

bool checkpoint_at(const struct checkpoint *c, const struct value *array, int64_t i,
                   struct value *out)
{
    return c->format->at && c->format->at(array, i, out);
}

bool checkpoint_strings(const struct checkpoint *c, const struct value *array, struct bytes *out)
{
    return c->format->strings && c->format->strings(array, out);
}

struct tensor checkpoint_view(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    const unsigned char *file = t->made ? NULL : c->file[t->file].data;
    void *data = file ? (void *)(uintptr_t)(file + t->offset) : NULL;
    int64_t rows = 1;

    if (t->ndim == 1)
        return tensor_1d(data, (enum dtype)t->dtype, t->shape[0]);
    for (int i = 0; i + 1 < t->ndim; i++)
        rows *= t->shape[i];
    return tensor_2d(data, (enum dtype)t->dtype, rows, t->shape[t->ndim - 1]);
}

const char *checkpoint_type_name(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    const char *name;

    if (t->dtype >= 0)
        return dtype_info((enum dtype)t->dtype)->name;
    name = c->format->type_name(t->type_number);
    return name ? name : "an unknown type";
}
