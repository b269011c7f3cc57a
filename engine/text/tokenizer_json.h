/* tokenizer_json.h - the tokenizer of a Hugging Face directory. */
#ifndef ENGINE_TEXT_TOKENIZER_JSON_H
#define ENGINE_TEXT_TOKENIZER_JSON_H

#include "engine/text/tokenizer.h"

struct tokenizer_files {    /* borrowed */
    struct bytes tokenizer; /* tokenizer.json */
    struct bytes config;    /* tokenizer_config.json; may be empty */
    struct bytes special;   /* special_tokens_map.json; may be empty */
    struct bytes added;     /* added_tokens.json; may be empty. Not read beside tokenizer.json */
    int n_rows;             /* of the embedding; missing tokens are made unused ones. 0: as many */
    int32_t bos, eos;       /* of config.json, for when the files name none; -1: none */
    const int32_t *ends;    /* of generation_config.json: tokens that end a turn */
    int n_ends;
};
/* ERR_JSON, ERR_FORMAT, ERR_UNSUPPORTED name the file and the part. */
enum status tokenizer_json_read(const struct tokenizer_files *f, struct tokenizer **out);
/* The same, and lends what was read to `use`, for who writes it in another format. */
typedef enum status tokenizer_json_use(void *ctx, const struct tokenizer_spec *spec,
                                       const struct tokenizer *t);
enum status tokenizer_json_lend(const struct tokenizer_files *f, tokenizer_json_use *use,
                                void *ctx);

#endif
