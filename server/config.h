/* config.h - the options of every command. One table (config.c) gives each option its name, its
 * environment variables, its type, default and range, its help and the commands that take it.
 *
 * Order, strongest first: command line, INFERD_<NAME>, the NIM names, the default. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/buf.h"
#include "kernels/base/status.h"

/* One bit a command: which options it takes. */
enum command_bit {
    CMD_SERVE = 1 << 0,
    CMD_CHAT = 1 << 1,
    CMD_INSPECT = 1 << 2,
    CMD_PLAN = 1 << 3,
    CMD_TOKENIZE = 1 << 4,
    CMD_RENDER = 1 << 5,
    CMD_BENCH = 1 << 6,
    CMD_HEALTH = 1 << 7,
    CMD_VERSION = 1 << 8,
    CMD_QUANTIZE = 1 << 9,
    CMD_GPUS = 1 << 10,
    CMD_TUNE = 1 << 11,
    CMD_PERPLEXITY = 1 << 12,
    CMD_IMATRIX = 1 << 13,
};

struct names { /* a list option: given several times, or with commas */
    const char **v;
    int n;
};

struct config {
    const char *model; /* FILE, or NULL: the first argument; others are `text` and `output` */
    bool help;
    /* where to listen */
    const char *host;
    int64_t port;
    struct names api_key;
    const char *api_key_file;
    int64_t http_threads, max_connections, max_body;
    double keepalive, drain_timeout;
    /* what to serve, and how */
    struct names served_model_name;
    bool strict_model;
    const char *device, *gpu_layers, *kv_type, *isa, *cublaslt;
    int64_t ctx, kv_bytes, threads, max_seqs, max_queue, max_rows;
    bool prefix_cache, deterministic, strict;
    const char *gpu_config, *gpu_cache, *activations;
    bool quick, verify, resume; /* tune */
    double budget;
    const char *random, *format;
    int64_t seed;
    /* logs */
    const char *log_format, *log_level;
    const char *generation_config;
    /* chat */
    const char *system;
    double temperature, top_p;
    int64_t top_k, max_tokens;
    /* tokenize, bench, health */
    bool bos, special, json, live;
    int64_t prompt, generate, rounds;
    const char *streams;
    /* quantize, perplexity */
    const char *output, *type, *imatrix, *text, *save_logits, *reference;
    bool allow_requantize, pure;
    int64_t chunks;
    /* what the strings above lie in when they are not argv's or the environment's */
    struct arena arena;
};

/* Fills `c` for the command from argv (its options only, without program and command name) and the
 * environment. ERR_INVALID names the option at fault and, for an unknown one, the nearest. */
enum status config_parse(struct config *c, unsigned command, int argc, char **argv);
void config_clear(struct config *c);
/* The options of one command, for --help. */
void config_help(unsigned command, struct buf *out);
/* The entry of `names` nearest to `word`, or NULL when none is near; for "did you mean". */
const char *config_nearest(const char *word, const char *const *names, int n);

#endif
