/*-------------------------------------------------------------------------
 *
 * allowed_ips.h
 *	  The addresses and networks from which a key may be used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_ALLOWED_IPS_H
#define APIKEYS_MODEL_ALLOWED_IPS_H

#include "utils/array.h"

#include "model/json_document.h"

extern void allowed_ips_check_size(Datum ips);
extern void allowed_ips_check(ArrayType *ips);
extern Datum allowed_ips_from_json(const JsonDocument *document,
								   const JsonDocumentMember *member,
								   const JsonbValue *json);

#endif							/* APIKEYS_MODEL_ALLOWED_IPS_H */
