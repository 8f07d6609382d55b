/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What dkvm_topology_explain() tells people, for programs. */
#include "xslt/topology-internal.h"

static void add_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void add_count(JsonBuilder *b, const char *name, guint value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void add_flag(JsonBuilder *b, const char *name, gboolean value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_boolean_value(b, value);
}

/* The open object gets the three numbers that --set topology= takes, and their product. */
static void add_shape(JsonBuilder *b, const DkvmShape *shape)
{
    add_count(b, "sockets", shape->sockets);
    add_count(b, "cores", shape->cores);
    add_count(b, "threads", shape->threads);
    add_count(b, "vcpus", dkvm_shape_total(shape));
}

static void add_cpu(JsonBuilder *b, const DkvmTopologyQuestion *question)
{
    json_builder_set_member_name(b, "cpu");
    json_builder_begin_object(b);
    if (question->vendor)
        add_text(b, "vendor", question->vendor);
    add_count(b, "family", question->family);
    add_count(b, "model", question->model);
    add_count(b, "stepping", question->stepping);
    json_builder_end_object(b);
}

static void add_encoding(JsonBuilder *b, const DkvmTopologyQuestion *question,
                         const DkvmEncoding *encoding)
{
    const char *where;
    g_autofree char *verdict = dkvm_xnu_verdict(question, encoding, &where);

    json_builder_begin_object(b);
    add_text(b, "like", encoding->by);
    add_count(b, "cores", encoding->cores);
    add_count(b, "threads", encoding->logical);
    add_count(b, "sharing", encoding->sharing);
    add_count(b, "msr35", encoding->msr35);
    add_text(b, "xnu", verdict);
    json_builder_end_object(b);
}

static void add_qemu(JsonBuilder *b, const DkvmTopologyQuestion *question)
{
    DkvmEncoding encodings[DKVM_ENCODINGS_MAX];
    guint count = dkvm_qemu_encodings(question, encodings);
    gulong version = question->qemu_version;

    if (version != 0) {
        g_autofree char *text = g_strdup_printf("%lu.%lu.%lu", version / 1000000,
                                                version / 1000 % 1000, version % 1000);
        add_text(b, "qemu", text);
    }
    add_flag(b, "kvm", question->kvm);
    json_builder_set_member_name(b, "told");
    json_builder_begin_array(b);
    for (guint i = 0; i < count; i++)
        add_encoding(b, question, &encodings[i]);
    json_builder_end_array(b);
}

static void add_nearby(JsonBuilder *b, const DkvmTopologyQuestion *question)
{
    DkvmShape shapes[DKVM_NEAR_MAX];
    const DkvmShape *shape = &question->shape;
    guint count = dkvm_choose_near(question, dkvm_shape_total(shape), shape->threads > 1, shapes);

    json_builder_set_member_name(b, "nearby");
    json_builder_begin_array(b);
    for (guint i = 0; i < count; i++) {
        json_builder_begin_object(b);
        add_shape(b, &shapes[i]);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

void dkvm_topology_json(JsonBuilder *b, const DkvmTopologyQuestion *question, gboolean *boots)
{
    g_autofree char *xnu = NULL;
    g_autofree char *why = NULL;
    DkvmTopologyVerdict verdict = dkvm_topology_ask(question, &xnu, &why);

    *boots = verdict == DKVM_TOPOLOGY_BOOTS;
    add_shape(b, &question->shape);
    add_cpu(b, question);
    add_qemu(b, question);
    add_flag(b, "boots", *boots);
    add_text(b, "xnu", xnu);
    add_text(b, "why", why);
    if (verdict == DKVM_TOPOLOGY_SHAPE)
        add_nearby(b, question);
}
