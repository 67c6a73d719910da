/*
 * One check per message after unpacking: nothing reads a message that did not pass it.
 *
 * What holds afterwards: an op is set and not NULL, repeated messages are not NULL, strings are
 * UTF-8, enums are known, ids have 16 bytes, keys are not empty and not too long, ranges have low <
 * high. BB_BAD_REQUEST names the message and the field. Values (BBV) inside are not looked into.
 */
#ifndef BB_WIRE_VALIDATE_H
#define BB_WIRE_VALIDATE_H

#include "common.pb-c.h"
#include "gateway.pb-c.h"
#include "sequencer.pb-c.h"
#include "slot.pb-c.h"
#include "storage.pb-c.h"
#include "worker.pb-c.h"

#include "bb/base.h"

int bb_tx_body_validate(struct bb_ctx *ctx, const Bb__Proto__TxBody *body);
int bb_tx_record_validate(struct bb_ctx *ctx, const Bb__Proto__TxRecord *record);
int bb_storage_request_validate(struct bb_ctx *ctx, const Bb__Proto__StorageRequest *request);
/* A reply whose status is not 0 may have no op. */
int bb_storage_reply_validate(struct bb_ctx *ctx, const Bb__Proto__StorageReply *reply);
int bb_sequencer_request_validate(struct bb_ctx *ctx, const Bb__Proto__SequencerRequest *request);
int bb_sequencer_reply_validate(struct bb_ctx *ctx, const Bb__Proto__SequencerReply *reply);
int bb_gateway_request_validate(struct bb_ctx *ctx, const Bb__Proto__GatewayRequest *request);
int bb_worker_request_validate(struct bb_ctx *ctx, const Bb__Proto__WorkerRequest *request);
int bb_worker_reply_validate(struct bb_ctx *ctx, const Bb__Proto__WorkerReply *reply);
int bb_to_slot_validate(struct bb_ctx *ctx, const Bb__Proto__ToSlot *frame);
int bb_from_slot_validate(struct bb_ctx *ctx, const Bb__Proto__FromSlot *frame);

#endif
