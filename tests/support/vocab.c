/* vocab.c - opens a file, takes its tokenizer, closes the file. */
#include "tests/support/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/load/lexicon.h"

struct tokenizer *vocab_tokenizer(const char *path)
{
    struct checkpoint *c;
    struct tokenizer *t = NULL;
    if (access(path, F_OK) != 0)
        return NULL;
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
