/* nn.h - the words a forward is written in.
 *
 * Each is an op, or a few, on tensors of the pass's workspace, and does nothing once the pass has
 * failed. Results that a word returns are new workspace, in stack order. R: rows of the batch, or
 * of what nn_want left of them; E: n_embd; W: wanted rows. */
#ifndef ENGINE_NN_NN_H
#define ENGINE_NN_NN_H

#include "engine/nn/net.h"

/* The rows of `b` become the rows at hand. */
void nn_begin(struct pass *p, const struct batch *b);
/* A layer begins, or with l = n_layer the output head: what is at hand, x, moves to its device. */
void nn_layer(struct pass *p, int l, struct tensor *x);

/* [R, E] of the batch's tokens, or rows of batch.embed, or what the sampler chose last */
struct tensor nn_embed(struct pass *p, const struct net *net, float scale);
/* y = rmsnorm(x) * weight */
void nn_rmsnorm(struct pass *p, struct tensor x, struct tensor weight, float eps, struct tensor y);
/* y [R, N] = x W^T + bias, over the parts of w */
void nn_linear_into(struct pass *p, const struct weight *w, struct tensor x, struct tensor y);
/* y += x W^T + bias */
void nn_linear_add(struct pass *p, const struct weight *w, struct tensor x, struct tensor y);
/* [R, N] = (rmsnorm(x) * norm) W^T + bias, over the parts of w */
struct tensor nn_norm_linear(struct pass *p, struct tensor x, struct tensor norm, float eps,
                             const struct weight *w);

/* [R, (Hq + 2 Hkv) D]: queries, keys, values of layer l from rmsnorm(x) * attn_norm; normed and
 * rotated; K and V are stored. */
struct tensor nn_qkv(struct pass *p, const struct net *net, int l, struct tensor x);
/* [R, Hq D]: attention of the queries in `qkv` over everything stored of their sequences */
struct tensor nn_attention(struct pass *p, const struct net *net, int l, struct tensor qkv);
/* x += down(act(gate h) * up h), h = rmsnorm(x) * ffn_norm */
void nn_ffn(struct pass *p, const struct net *net, int l, enum act act, struct tensor x);

/* [W, cols]: the wanted rows of x */
struct tensor nn_gather(struct pass *p, struct tensor x);
/* From here on the rows at hand are the wanted ones. */
void nn_want(struct pass *p);

/* The pages of layer l. */
struct kv_view nn_kv(const struct pass *p, const struct net *net, int l);

#endif
