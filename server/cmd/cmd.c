/* cmd.c - the table of commands, and what they share. */
#include "server/cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/version.h"

struct command {
    const char *name;
    unsigned bit;
    int (*run)(const struct config *);
    bool needs_file;
    const char *args, *about, *more;
};

/* clang-format off */
static const struct command commands[] = {
    {"serve",    CMD_SERVE,    cmd_serve,    false, "[MODEL]", "serve a model over HTTP",
     "Serves MODEL, a GGUF file or a Hugging Face directory, through an OpenAI-compatible API until\n"
     "SIGTERM or SIGINT, which lets running requests end. Exit code 1: the port is in use, or the model cannot be loaded."},
    {"chat",     CMD_CHAT,     cmd_chat,     false, "[MODEL]", "talk with a model in the terminal",
     "Ctrl-C stops an answer. /clear forgets the conversation, /exit or Ctrl-D leaves."},
    {"inspect",  CMD_INSPECT,  cmd_inspect,  true,  "FILE",    "print what a model file holds", ""},
    {"plan",     CMD_PLAN,     cmd_plan,     false, "[MODEL]", "print the memory a model will take, without loading it", ""},
    {"tokenize", CMD_TOKENIZE, cmd_tokenize, true,  "FILE",    "text on standard input to token ids on one line", ""},
    {"render",   CMD_RENDER,   cmd_render,   true,  "FILE",    "a chat request on standard input to its prompt",
     "FILE is a GGUF file, a Hugging Face directory or a .jinja template. The request is JSON: messages, tools,\n"
     "add_generation_prompt, and any further template variable."},
    {"bench",    CMD_BENCH,    cmd_bench,    false, "[MODEL]", "measure prefill and decode speed",
     "Measures a model file, or with --random weights made in memory, beside the memory bandwidth\n"
     "read in the same second."},
    {"quantize", CMD_QUANTIZE, cmd_quantize, true,  "IN OUT --type TYPE", "write a model file in another number format",
     "IN is a GGUF file or a Hugging Face directory; OUT is written whole or not at all. Types:\n"
     "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s\n"
     "q5_k_m q6_k iq4_nl iq4_xs mxfp4 nvfp4. Those with _s, _m and _l mix formats: tensors whose\n"
     "errors cost more get a larger one."},
    {"imatrix",  CMD_IMATRIX,  cmd_imatrix,  true,  "FILE TEXT OUT", "how important a model's columns are for a text",
     "Writes the sums of squares of all matrices' inputs, for `inferd quantize --imatrix`. FILE is\n"
     "best the model before it is quantised."},
    {"perplexity", CMD_PERPLEXITY, cmd_perplexity, true, "FILE TEXT", "how well a model predicts a text",
     "Scores the second half of each window of --ctx tokens, on the processor. With --save-logits and\n"
     "--reference two files of one model are compared: divergence, same likeliest token, logits."},
    {"health",   CMD_HEALTH,   cmd_health,   false, "",        "ask a running server whether it is ready",
     "Exit code 0: it is. For container health checks."},
    {"tune",     CMD_TUNE,     cmd_tune,     false, "[MODEL]", "measure the fastest kernels for this GPU",
     "Measures matrix products of MODEL's shapes, or of common ones, and writes what is faster to the\n"
     "user's cache, or to --output. Wrong results are rejected; nothing gets slower than it was."},
    {"gpus",     CMD_GPUS,     cmd_gpus,     false, "",        "list the GPUs that have a configuration, and this machine's",
     "A configuration says which kernels a GPU gets. Measured: by inferd on such a GPU; derived: from\n"
     "its data sheet and the kernels' efficiencies on its family; by hand: with the sources named."},
    {"version",  CMD_VERSION,  cmd_version,  false, "",        "print the version", ""},
};
/* clang-format on */

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const struct command *find(const char *name)
{
    if (!strcmp(name, "--version"))
        name = "version";
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static void usage(FILE *to)
{
    fprintf(to,
            "inferd %s - serves a language model over an OpenAI-compatible HTTP API\n\n"
            "usage: inferd COMMAND [options]\n\n",
            INFERD_VERSION);
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
    fprintf(to, "\n`inferd COMMAND --help` lists the options of a command.\n");
}

static int unknown_command(const char *name)
{
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = config_nearest(name, names, N_COMMANDS);
    if (near)
        fprintf(stderr, "inferd: unknown command \"%s\"; did you mean %s?\n", name, near);
    else
        fprintf(stderr, "inferd: unknown command \"%s\"; `inferd --help` lists them\n", name);
    return EXIT_USAGE;
}

static void help(const struct command *cmd)
{
    struct buf b = {0};
    buf_printf(&b, "usage: inferd %s%s%s [options]\n\n%s.\n", cmd->name, cmd->args[0] ? " " : "",
               cmd->args, cmd->about);
    if (cmd->more[0])
        buf_printf(&b, "%s\n", cmd->more);
    buf_puts(&b, "\nOptions (environment variables below each; the command line wins):\n");
    config_help(cmd->bit, &b);
    cmd_print(&b);
    buf_clear(&b);
}

static int run(const struct command *cmd, int argc, char **argv)
{
    struct config c;
    int code = EXIT_GOOD;
    if (config_parse(&c, cmd->bit, argc, argv) != OK) {
        fprintf(stderr, "inferd %s: %s\n`inferd %s --help` lists the options.\n", cmd->name,
                fail_text(), cmd->name);
        code = EXIT_USAGE;
    } else if (c.help) {
        help(cmd);
    } else if (cmd->needs_file && !c.model) {
        fprintf(stderr, "inferd %s: which file? usage: inferd %s %s\n", cmd->name, cmd->name,
                cmd->args);
        code = EXIT_USAGE;
    } else {
        code = cmd->run(&c);
    }
    if (!(code & EXIT_NOW)) /* else other threads may still read it */
        config_clear(&c);
    return code;
}

int cmd_run(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        usage(stdout);
        return EXIT_GOOD;
    }
    const struct command *cmd = find(argv[1]);
    return cmd ? run(cmd, argc - 2, argv + 2) : unknown_command(argv[1]);
}

/* ---- shared ---------------------------------------------------------------------------------- */

int cmd_failed(void)
{
    fflush(stdout);
    fprintf(stderr, "inferd: %s\n", fail_text());
    return EXIT_BAD;
}

enum status cmd_read_stdin(size_t limit, struct buf *out)
{
    char piece[65536];
    ssize_t n;
    while ((n = read(STDIN_FILENO, piece, sizeof piece)) > 0) {
        if (out->len + (size_t)n > limit)
            return fail(ERR_TOO_LARGE, "standard input is longer than %zu bytes", limit);
        buf_append(out, piece, (size_t)n);
    }
    return n < 0 ? fail(ERR_IO, "cannot read standard input: %s", strerror(errno)) : OK;
}

int cmd_print(const struct buf *b)
{
    if (b->len && fwrite(b->data, 1, b->len, stdout) != b->len)
        return EXIT_BAD;
    return fflush(stdout) ? EXIT_BAD : EXIT_GOOD;
}
