/* llama.h - Llama 2 and 3.x, Mistral, SmolLM2, Qwen2, Qwen3: one network; they differ in
 * hyper-parameters and in which optional weights they have. */
#ifndef ENGINE_MODELS_LLAMA_H
#define ENGINE_MODELS_LLAMA_H

#include "engine/nn/net.h"

extern const struct arch arch_llama;

#endif
