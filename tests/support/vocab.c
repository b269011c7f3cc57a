/* vocab.c - opens a file, takes its tokenizer, closes the file. */
#include "tests/support/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/lexicon.h"
#include "engine/text/tokenizer_json.h"
#include "kernels/base/mem.h"

static struct tokenizer *of_json(const char *path)
{
    struct tokenizer_files f = {.bos = -1, .eos = -1};
    struct tokenizer *t = NULL;
    char *text;
    size_t n;
    enum status s = file_read(path, (size_t)1 << 28, &text, &n);
    if (s == OK) {
        f.tokenizer = (struct bytes){text, n};
        s = tokenizer_json_read(&f, &t);
        xfree(text);
    }
    if (s != OK) {
        fprintf(stderr, "%s\n", fail_text());
        abort();
    }
    return t;
}

struct tokenizer *vocab_tokenizer(const char *path)
{
    size_t n = strlen(path);
    struct checkpoint *c;
    struct tokenizer *t = NULL;
    if (access(path, F_OK) != 0)
        return NULL;
    if (n > 5 && strcmp(path + n - 5, ".json") == 0)
        return of_json(path);
    if (checkpoint_open(path, &c) != OK || lexicon_open(c, &t) != OK) {
        fprintf(stderr, "%s\n", fail_text());
        abort();
    }
    checkpoint_close(c);
    return t;
}

const char *vocab_default_model(void)
{
    static char path[4096];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool xdg = cache && cache[0] == '/';
    snprintf(path, sizeof path, "%s%s/inferd/models/SmolLM2-135M-Instruct-Q4_1.gguf",
             xdg ? cache : (home ? home : ""), xdg ? "" : "/.cache");
    return path;
}
