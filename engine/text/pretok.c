/* pretok.c - the pre-tokenizers that GGUF files name, as patterns in Oniguruma's syntax, which is
 * that of the models' own tokenizer.json.
 *
 * Patterns repeat single characters, and groups only where nothing is tried again, and so need
 * neither much JIT stack nor recursion, and time in proportion, however long the text. */
#include "engine/text/pretok.h"

#include <string.h>

#include "engine/text/charprops.h"
#include "engine/text/normalizer.h"
#include "engine/text/splitter.h"

/* What the models' files share. */
#define WORD_SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORD        "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS       " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER       "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER       "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define ASCII_SIGN  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define KANA_HAN    "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define CAMEL(suffix, numbers)                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER  \
    "*" suffix "|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL
/* Runs of digits in threes from the right. Written so, each run is looked through once: the first
 * group looks ahead, the others only follow it. */
#define THREES(digit, end)                                                                         \
    "(?<!" digit ")" digit "{1,3}(?=(?:" digit "{3})*+" end ")|\\G(?<=" digit ")" digit "{3}"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* Digits are split off one by one before GPT-2's rule sees the rest, so a digit ends a stretch of
 * blanks as the end of the text does. */
#define DIGITS                                                                                     \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?![^\\s\\p{N}])|\\s+"
#define LLAMA3 WORD_SUFFIX "|" WORD "|\\p{N}{1,3}|" SIGNS "|" TAIL
#define QWEN2  WORD_SUFFIX "|" WORD "|\\p{N}|" SIGNS "|" TAIL
#define QWEN35                                                                                     \
    WORD_SUFFIX                                                                                    \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" TAIL
#define O200K  CAMEL(WORD_SUFFIX "?", "\\p{N}{1,3}")
#define TEKKEN CAMEL("", "\\p{N}")
#define BLOOM  " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define DEEPSEEK_WORDS                                                                             \
    ASCII_SIGN                                                                                     \
    "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL
#define KIMI_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI                                                                                       \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+" WORD_SUFFIX                 \
    "?|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*" WORD_SUFFIX "?|\\p{N}{1,3}|" SIGNS    \
    "|" TAIL
/* Letters that have case: what DeepSeek's first files list, character by character. */
#define CASED                                                                                      \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                 \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                       \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                 \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"                 \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"        \
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"         \
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"                 \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"                  \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"                   \
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}"        \
    "\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"         \
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"                  \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"                 \
    "\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"               \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"         \
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

/* clang-format off */
static const char *const gpt2[] = {GPT2, NULL};
static const char *const digits[] = {DIGITS, NULL};
static const char *const llama3[] = {LLAMA3, NULL};
static const char *const qwen2[] = {QWEN2, NULL};
static const char *const turkish[] = {WORD "|\\p{N}|" SIGNS "|" TAIL, NULL}; /* "'da" is a word */
static const char *const qwen35[] = {QWEN35, NULL};
static const char *const o200k[] = {O200K, NULL};
static const char *const tekken[] = {TEKKEN, NULL};
static const char *const bloom[] = {BLOOM, NULL};
static const char *const viking[] = {BLOOM, "\\p{N}", NULL};
static const char *const kimi[] = {KIMI, NULL};
static const char *const deepseek_llm[] = {
    "[\\r\\n]", "\\s?[" CASED "]+",
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "\\s+$", "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}+", NULL};
static const char *const deepseek_coder[] = {
    "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}", NULL};
static const char *const deepseek_v3[] = {"\\p{N}{1,3}", KANA_HAN, DEEPSEEK_WORDS, NULL};
static const char *const falcon[] = {
    "[\\p{P}$+<=>^~|`]+", GPT2, "[0-9]+", "[0-9][0-9][0-9]", NULL};
static const char *const youtu[] = {
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}"
    "\\x{2018}\\x{2019}"
    "\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|["
    "\\x{3105}-\\x{312f}]+"
    "|" KANA_HAN,
    CAMEL(WORD_SUFFIX "?", "\\p{N}"), NULL};
static const char *const aya[] = {THREES("\\d", "\\b"), O200K, NULL};
static const char *const superbpe[] = {
    "\\p{N}+", "(?<!\\d)\\d{0,2}\\K\\d{3}(?=(?:\\d{3})*+(?!\\d))|\\G(?<=\\d)\\d{3}", NULL};
static const char *const afmoe[] = {
    THREES("\\p{N}", "(?!\\p{N})"),
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{30ff}"
    "\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{eff}\\x{1780}-\\x{17ff}"
    "\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}"
    "\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+",
    DEEPSEEK_WORDS, NULL};
/* The lookbehind is ours: where a stretch of blanks was cut there is no line feed ahead in it. */
static const char *const jais2[] = {
    WORD_SUFFIX "|" WORD "|\\p{N}{1,3}|" SIGNS "|(?<![^\\S\\r\\n])\\s*[\\r\\n]+|\\s{512}(?!\\S)"
    "|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)"
    "|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}", NULL};
static const char *const bailing[] = {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"
    "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+", NULL};
static const char *const seed[] = {
    WORD_SUFFIX "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" TAIL, NULL};
static const char *const laguna[] = {"[^\\n]+|[\\n]+", QWEN2, NULL};
/* The file's "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+" without a repeat in a repeat. */
static const char *const exaone_moe[] = {
    WORD_SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}(?:[\\p{L}\\p{M}]++| \\p{L})*+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+", NULL};
static const char *const minicpm5[] = {
    "\\p{N}{1,3}", WORD_SUFFIX "|" WORD "|\\p{N}+|" SIGNS "|" TAIL, NULL};
static const char *const chameleon[] = {
    "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
    "[\\p{P}!-/:-@\\[-`{-~]", GPT2, NULL};

static const struct row {
    const char *name;
    const char *const *pattern; /* each cuts the pieces of the one before; ends in NULL */
    struct pretok_rule rule;    /*        whole_word  nfc    add_bos add_sep */
} rows[] = {
    {"default",                 gpt2,           {false, false, false, false}},
    {"gpt-2",                   gpt2,           {false, false, false, false}},
    {"phi-2",                   gpt2,           {false, false, false, false}},
    {"jina-es",                 gpt2,           {false, false, false, false}},
    {"jina-de",                 gpt2,           {false, false, false, false}},
    {"jina-v2-es",              gpt2,           {false, false, false, false}},
    {"jina-v2-de",              gpt2,           {false, false, false, false}},
    {"jina-v2-code",            gpt2,           {false, false, false, true }},
    {"jina-v1-en",              gpt2,           {false, false, false, true }},
    {"roberta-bpe",             gpt2,           {false, false, false, true }},
    {"gigachat",                gpt2,           {false, false, false, false}},
    {"a.x-4.0",                 gpt2,           {false, false, false, false}},
    {"mellum",                  gpt2,           {false, false, false, false}},
    {"modern-bert",             gpt2,           {false, true,  false, false}},
    {"gpt-neox",                gpt2,           {false, true,  false, false}},
    {"mpt",                     gpt2,           {false, true,  false, false}},
    {"olmo",                    gpt2,           {false, true,  false, false}},
    {"jais",                    gpt2,           {false, false, false, false}},
    {"trillion",                gpt2,           {false, false, false, false}},
    {"granite-docling",         gpt2,           {false, false, false, false}},
    {"exaone4",                 gpt2,           {false, false, false, false}},
    {"smollm",                  digits,         {false, false, false, false}},
    {"starcoder",               digits,         {false, false, false, false}},
    {"refact",                  digits,         {false, false, false, false}},
    {"codeshell",               digits,         {false, false, false, false}},
    {"command-r",               digits,         {false, true,  false, false}},
    {"exaone",                  digits,         {false, false, false, false}},
    {"minerva-7b",              digits,         {false, false, false, false}},
    {"mellum2",                 digits,         {false, false, false, false}},
    {"llama-bpe",               llama3,         {true,  false, true,  false}},
    {"llama3",                  llama3,         {true,  false, true,  false}},
    {"llama-v3",                llama3,         {true,  false, true,  false}},
    {"falcon3",                 llama3,         {true,  false, true,  false}},
    {"falcon-h1",               llama3,         {true,  false, true,  false}},
    {"pixtral",                 llama3,         {true,  false, true,  false}},
    {"lfm2",                    llama3,         {true,  false, true,  false}},
    {"midm-2.0",                llama3,         {true,  false, true,  false}},
    {"jina-v5-nano",            llama3,         {true,  false, true,  false}},
    {"smaug-bpe",               llama3,         {false, false, false, false}},
    {"dbrx",                    llama3,         {false, false, false, false}},
    {"chatglm-bpe",             llama3,         {false, false, false, false}},
    {"glm4",                    llama3,         {false, false, false, false}},
    {"jais-2",                  jais2,          {false, false, false, false}},
    {"minicpm5",                minicpm5,       {true,  false, false, false}},
    {"qwen2",                   qwen2,          {false, true,  false, false}},
    {"deepseek-r1-qwen",        qwen2,          {false, true,  false, false}},
    {"megrez",                  qwen2,          {false, true,  false, false}},
    {"kormo",                   qwen2,          {false, false, false, false}},
    {"f2llmv2",                 qwen2,          {false, true,  false, false}},
    {"stablelm2",               qwen2,          {false, false, false, false}},
    {"hunyuan",                 qwen2,          {false, false, false, false}},
    {"solar-open",              qwen2,          {false, false, false, false}},
    {"grok-2",                  qwen2,          {false, false, false, false}},
    {"ufakzeka",                turkish,        {false, false, false, false}},
    {"laguna",                  laguna,         {false, false, false, false}},
    {"qwen35",                  qwen35,         {false, true,  false, false}},
    {"gpt-4o",                  o200k,          {false, false, false, false}},
    {"llama4",                  o200k,          {false, false, false, false}},
    {"kanana2",                 o200k,          {false, false, false, false}},
    {"talkie",                  o200k,          {false, false, false, false}},
    {"minimax-m2",              o200k,          {false, false, false, false}},
    {"granite-embed-multi-97m", o200k,          {true,  false, false, false}},
    {"tiny_aya",                aya,            {false, true,  false, false}},
    {"cohere2moe",              aya,            {false, true,  false, false}},
    {"tekken",                  tekken,         {true,  false, true,  false}},
    {"kimi-k2",                 kimi,           {false, false, false, false}},
    {"deepseek-llm",            deepseek_llm,   {false, false, false, false}},
    {"deepseek-coder",          deepseek_coder, {false, false, false, false}},
    {"deepseek-v3",             deepseek_v3,    {false, false, false, false}},
    {"hunyuan-dense",           deepseek_v3,    {false, false, false, false}},
    {"joyai-llm",               deepseek_v3,    {false, false, false, false}},
    {"falcon",                  falcon,         {false, false, false, false}},
    {"youtu",                   youtu,          {true,  false, false, false}},
    {"bloom",                   bloom,          {false, false, false, false}},
    {"poro-chat",               bloom,          {false, false, false, false}},
    {"gpt3-finnish",            bloom,          {false, false, false, false}},
    {"viking",                  viking,         {false, false, false, false}},
    {"superbpe",                superbpe,       {false, false, false, false}},
    {"bailingmoe",              bailing,        {false, false, false, false}},
    {"bailingmoe2",             bailing,        {false, false, false, false}},
    {"llada-moe",               bailing,        {false, false, false, false}},
    {"seed-coder",              seed,           {false, false, false, false}},
    {"afmoe",                   afmoe,          {false, false, false, false}},
    {"exaone-moe",              exaone_moe,     {false, false, false, false}},
    {"chameleon",               chameleon,      {false, false, true,  false}},
};
/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const struct row *find_row(const char *name)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].name, name ? name : "default") == 0)
            return &rows[i];
    return NULL;
}

const struct pretok_rule *pretok_rule(const char *name)
{
    const struct row *row = find_row(name);
    return row ? &row->rule : NULL;
}

static enum status unknown(const char *name)
{
    struct buf list = {0};
    for (int i = 0; i < N_ROWS; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", rows[i].name);
    enum status s =
        fail(ERR_UNSUPPORTED, "pre-tokenizer '%s' is not supported; known are %s", name, list.data);
    buf_clear(&list);
    return s;
}

enum status pretok_fill(const char *name, struct pipeline_spec *p)
{
    const struct row *row = find_row(name);
    if (!row)
        return unknown(name);
    p->splitter = splitter_new();
    for (const char *const *pattern = row->pattern; *pattern; pattern++)
        TRY(splitter_add_regex(p->splitter, bytes_of(*pattern), true, CUT_ISOLATED, false));
    p->whole_word = row->rule.whole_word;
    p->from_ids = row->pattern == kimi; /* such files have no merges */
    if (!row->rule.nfc)
        return OK;
    p->normalizer = normalizer_new();
    return normalizer_add(p->normalizer, NORMAL_FORM, NORMAL_NFC, (struct bytes){0},
                          (struct bytes){0});
}
