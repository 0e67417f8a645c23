/*-------------------------------------------------------------------------
 *
 * text_argument.h
 *	  Arguments that are stored as text.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_TEXT_ARGUMENT_H
#define APIKEYS_API_TEXT_ARGUMENT_H

#include "fmgr.h"

extern text *text_argument(FunctionCallInfo fcinfo, int argno, const char *name, int max_chars);
extern text *optional_text_argument(FunctionCallInfo fcinfo, int argno, const char *name, int max_chars);

#endif							/* APIKEYS_API_TEXT_ARGUMENT_H */
