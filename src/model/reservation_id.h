/*-------------------------------------------------------------------------
 *
 * reservation_id.h
 *	  Ids of reservations, which nobody can guess.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_RESERVATION_ID_H
#define APIKEYS_MODEL_RESERVATION_ID_H

#include "utils/uuid.h"

extern void reservation_id_generate(pg_uuid_t *id);
extern void reservation_id_set_hold(pg_uuid_t *id, int hold);
extern int	reservation_id_hold(const pg_uuid_t *id);

#endif							/* APIKEYS_MODEL_RESERVATION_ID_H */
