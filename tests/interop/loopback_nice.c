/*
 * Lets Debian's simple-whip-client run, and keeps it on loopback. Preloaded; its name inside is that
 * of libgupnp-igd, in whose place it is taken.
 *
 * In Debian 12 libnice asks for libgupnp-igd (ports opened on home routers, off unless asked for) and
 * that for libsoup 3, while the client is built with libsoup 2: the two end the process together. Nor
 * does libnice offer loopback addresses by itself.
 */
#include <stddef.h>

void *g_list_append(void *list, void *data);
char *g_strdup(const char *text);

size_t gupnp_simple_igd_get_type(void) { return 0; }
void *gupnp_simple_igd_thread_new(void) { return NULL; }
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}

void *nice_interfaces_get_local_ips(int include_loopback)
{
    (void)include_loopback;
    return g_list_append(NULL, g_strdup("127.0.0.1"));
}
