/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  Checks of arguments, and errors that several functions raise.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_ARGUMENTS_H
#define APIKEYS_BASE_ARGUMENTS_H

#include "fmgr.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#include "base/compat.h"

extern void require_not_null(FunctionCallInfo fcinfo, int argno, const char *name);
extern void check_size(const char *what, Datum value, Size max_bytes);
extern bool is_stored_amount(Numeric amount);
extern Numeric round_amount(Numeric amount);
extern int	amount_sign(Numeric amount);
extern void check_tokens(int64 tokens);
extern void check_nonnegative_amount(const char *what, Numeric amount);
extern int	hint_preload(void);
pg_noreturn extern void raise_wrong_state(const char *message);
pg_noreturn extern void raise_key_not_found(const pg_uuid_t *id);
pg_noreturn extern void raise_no_such_budget(const pg_uuid_t *id);

#endif							/* APIKEYS_BASE_ARGUMENTS_H */
