/*-------------------------------------------------------------------------
 *
 * judge.h
 *	  Is a key good for a request, now?
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_JUDGE_H
#define APIKEYS_JUDGE_H

#include "cache/keycache.h"

/* The arguments of apikey_verify, in their order. */
typedef enum JudgeArgument
{
	JUDGE_RAW_KEY,
	JUDGE_MODEL,
	JUDGE_ENDPOINT,
	JUDGE_REQUIRED_PERMISSIONS,
	JUDGE_TOKENS,
	JUDGE_CLIENT_IP,
	JUDGE_ACQUIRE_SLOT,
	JUDGE_NARGUMENTS
} JudgeArgument;

typedef struct Judgement
{
	bool		valid;
	const char *code;
	const char *reason;			/* NULL: valid */
	CachedKey  *key;			/* NULL: not found; good until judge_note_use() */
	TimestampTz now;			/* when it was judged */
	TimestampTz retry_at;		/* 0: not known, or never */
	int64		slot;			/* 0: none was taken */
	bool		use_noted;		/* already; see ratelimit.h */
	bool		use_is_news;
} Judgement;

extern void judge(const NullableDatum *args, Judgement *judgement);
extern void judge_note_use(const Judgement *judgement);
extern int64 judge_retry_after(const Judgement *judgement);

#endif							/* APIKEYS_JUDGE_H */
