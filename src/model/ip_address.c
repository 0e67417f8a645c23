/*-------------------------------------------------------------------------
 *
 * ip_address.c
 *	  Addresses of clients, and the networks that they may come from.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A proxy passes on the address of a client in one of many forms, and what it
 * passes on may be forged.  So the address is parsed here, not by inet's input
 * function, which raises an error for anything else.
 *
 * A socket that listens on IPv6 shows IPv4 clients as ::ffff:a.b.c.d.  Here
 * these are IPv4, so that a list of networks means the same for any socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <arpa/inet.h>

#include "model/ip_address.h"

#define IPV4_BITS	32
#define IPV6_BITS	128
#define BLANKS		" \t\r\n"

/* Converts an IPv4-mapped address, or a network of such, to IPv4. */
static void
unmap(inet_struct *network)
{
	static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};

	if (network->family == PGSQL_AF_INET6 && network->bits >= 8 * sizeof(prefix) &&
		memcmp(network->ipaddr, prefix, sizeof(prefix)) == 0)
	{
		network->family = PGSQL_AF_INET;
		network->bits -= 8 * sizeof(prefix);
		memmove(network->ipaddr, network->ipaddr + sizeof(prefix), IPV4_BITS / 8);
	}
}

/* Ends a text at a separator; returns what follows it, or NULL. */
static char *
split(char *text, char separator)
{
	char	   *found = strchr(text, separator);

	if (found == NULL)
		return NULL;
	*found = '\0';
	return found + 1;
}

static bool
is_port(const char *text)
{
	Size		len = strlen(text);

	return len >= 1 && len <= 5 && strspn(text, "0123456789") == len && atoi(text) <= 65535;
}

/* Is it the name or number of a network interface, as it follows fe80::1%? */
static bool
is_zone(const char *text)
{
	return text[0] != '\0' &&
		   text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@")] == '\0';
}

/* 192.0.2.1, 192.0.2.1/32, 192.0.2.1:5678 */
static bool
parse_ipv4(char *text, inet_struct *address)
{
	char	   *port = split(text, ':');
	char	   *mask = split(text, '/');

	if (port != NULL ? mask != NULL || !is_port(port) : mask != NULL && strcmp(mask, "32") != 0)
		return false;

	address->family = PGSQL_AF_INET;
	address->bits = IPV4_BITS;
	return inet_pton(AF_INET, text, address->ipaddr) == 1;
}

/* 2001:db8::1, fe80::1%eth0, 2001:db8::1/128 */
static bool
parse_ipv6(char *text, inet_struct *address)
{
	char	   *mask = split(text, '/');
	char	   *zone = split(text, '%');

	if ((mask != NULL && strcmp(mask, "128") != 0) || (zone != NULL && !is_zone(zone)))
		return false;

	address->family = PGSQL_AF_INET6;
	address->bits = IPV6_BITS;
	return inet_pton(AF_INET6, text, address->ipaddr) == 1;
}

/* [2001:db8::1], [2001:db8::1]:443; from after the bracket */
static bool
parse_bracketed(char *text, inet_struct *address)
{
	char	   *rest = split(text, ']');

	if (rest == NULL || strchr(text, '/') != NULL ||
		(rest[0] != '\0' && (rest[0] != ':' || !is_port(rest + 1))))
		return false;

	return parse_ipv6(text, address);
}

/*
 * Parses the address of a client; false if it is none.  Blanks around it, its
 * port, its zone and a mask that covers all of it are ignored.
 */
bool
ip_address_parse(const char *data, Size len, inet_struct *address)
{
	char		buffer[IP_ADDRESS_MAX_LEN + 1];
	char	   *text = buffer;
	bool		parsed;

	if (len > IP_ADDRESS_MAX_LEN || memchr(data, '\0', len) != NULL)
		return false;
	memcpy(buffer, data, len);
	while (len > 0 && strchr(BLANKS, buffer[len - 1]) != NULL)
		len--;
	buffer[len] = '\0';
	text += strspn(text, BLANKS);

	if (text[0] == '[')
		parsed = parse_bracketed(text + 1, address);
	else if (strchr(text, ':') == strrchr(text, ':'))
		parsed = parse_ipv4(text, address);
	else
		parsed = parse_ipv6(text, address);
	if (parsed)
		unmap(address);

	return parsed;
}

/* Returns an address as text, palloc'd. */
char *
ip_address_format(const inet_struct *address)
{
	char		buffer[sizeof("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")];

	if (pg_inet_net_ntop(address->family, address->ipaddr, address->bits,
						 buffer, sizeof(buffer)) == NULL)
		elog(ERROR, "could not format an address: %m");

	return pstrdup(buffer);
}

/* Sets a network to a value of type inet. */
void
ip_network_from_inet(const inet *value, inet_struct *network)
{
	memset(network, 0, sizeof(inet_struct));
	network->family = ip_family(value);
	network->bits = ip_bits(value);
	memcpy(network->ipaddr, ip_addr(value), ip_addrsize(value));
	unmap(network);
}

/* Is an address in a network? */
bool
ip_network_contains(const inet_struct *network, const inet_struct *address)
{
	return network->family == address->family &&
		   bitncmp(network->ipaddr, address->ipaddr, network->bits) == 0;
}
