/*-------------------------------------------------------------------------
 *
 * ip_address.h
 *	  Addresses of clients, and the networks that they may come from.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_IP_ADDRESS_H
#define APIKEYS_MODEL_IP_ADDRESS_H

#include "utils/inet.h"

/* Longer texts are not addresses. */
#define IP_ADDRESS_MAX_LEN	128

extern bool ip_address_parse(const char *data, Size len, inet_struct *address);
extern char *ip_address_format(const inet_struct *address);
extern void ip_network_from_inet(const inet *value, inet_struct *network);
extern bool ip_network_contains(const inet_struct *network, const inet_struct *address);

#endif							/* APIKEYS_MODEL_IP_ADDRESS_H */
