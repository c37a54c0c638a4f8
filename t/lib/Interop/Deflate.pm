package Interop::Deflate;

# permessage-deflate with every implementation: each combination of parameters,
# asked for by us and asked for by the peer, in both roles.
#
# The peer says hello with "extensions=" and the header of the response; then it
# echoes every message with its type, and the one after the text "!split N" in N
# compressed fragments. It compresses whatever the size.

use strict;
use warnings;

use Exporter qw(import);
use Test::More;

use EV::Websockets;
use Interop qw(await);
use Interop::Child;
use Interop::Talk;

our @EXPORT_OK = qw(settings setting_name talk_deflated both_roles with_our_client with_our_server);

use constant MiB => 1024 * 1024;

my @KEYS = qw(server_no_context_takeover client_no_context_takeover server_max_window_bits client_max_window_bits);

# Both takeovers, and both windows of 9, 12 and 15 bits.
sub settings {
    my @all;
    for my $n (0 .. 35) {
        push @all, {
            server_no_context_takeover => $n % 2,
            client_no_context_takeover => int($n / 2) % 2,
            server_max_window_bits     => 9 + 3 * (int($n / 4) % 3),
            client_max_window_bits     => 9 + 3 * int($n / 12),
        };
    }
    return @all;
}

# As the peers take it on their command lines: the four values in the order above.
sub setting_name { my ($setting) = @_; return join ',', @$setting{@KEYS} }

# ---- what is said ----

my %unit = (
    'repeating text'   => join('', 'a' .. 'z', map { qq({"id":$_,"name":"value"}) } 0 .. 20),
    'repeating binary' => join('', map { chr } 0 .. 250),
);

# [name, is_binary, bytes]. The same random ones every time, so that what a
# window still holds is used.
my @payloads;
sub _payloads {
    return @payloads if @payloads;
    for my $length (0, 1, 125, 126, 1000, 65536, MiB) {
        for my $kind (0, 1) {
            my $unit = $unit{ $kind ? 'repeating binary' : 'repeating text' };
            push @payloads, [ "repeating, $length", $kind, substr $unit x (1 + $length / length $unit), 0, $length ];
            my $random = '';
            $random .= $kind ? pack('N', rand 2**32) : chr 32 + rand 95 while length $random < $length;
            push @payloads, [ "random, $length", $kind, substr $random, 0, $length ];
        }
    }
    return @payloads;
}

sub _differs {
    my ($got, $is_binary, $expected) = @_;
    my ($name, $kind, $bytes) = @$expected;
    return if $got eq $bytes && $is_binary == $kind;
    return sprintf '%s, %s: got %d bytes, %s', $name, $kind ? 'binary' : 'text', length $got, $is_binary ? 'binary' : 'text';
}

# All of it in flight at once. Without `large`, up to 64 KiB.
sub talk_deflated {
    my ($talk, $name, $large) = @_;
    my $conn = $talk->{conn};
    my @all = grep { $large || length $_->[2] < MiB } _payloads();
    push @all, map { [ "short $_", 0, qq({"id":$_,"name":"instrument $_","price":) . $_ * 7 % 1000 . '}' ] } 1 .. 300;
    $_->[1] ? $conn->send_binary($_->[2]) : $conn->send($_->[2]) for @all;
    my @wrong = grep { defined } map { _differs(($talk->next_message)[ 0, 1 ], $_) } @all;
    is(join("\n", @wrong), '', "$name: @{[ scalar @all ]} echoes, in order");

    my $text = 'fragment of a message ' x 1000;
    $conn->send_fragment(substr($text, 5000 * $_, 5000), 0, $_ == 4 ? 1 : 0) for 0 .. 4;
    is(($talk->next_message)[0], $text, "$name: our fragments");
    $conn->send('!split 5');
    $conn->send($text);
    is(($talk->next_message)[0], $text, "$name: its fragments");
    is($talk->unread, 0, "$name: nothing else");
    return;
}

# What was agreed on: the same to both sides, and no less than was asked for.
sub _agreed {
    my ($talk, $name, $asked) = @_;
    my ($hello) = $talk->next_message;
    my $extensions = $talk->{conn}->extensions;
    is($hello, 'extensions=' . (defined $extensions ? $extensions : ''), "$name: both see the same");
    my ($first, @params) = split /;\s*/, defined $extensions ? $extensions : '';
    is($first, 'permessage-deflate', "$name: agreed on");
    my %got = map { my ($key, $value) = split /=/; ($key => defined $value ? $value : 1) } @params;
    for my $key (@KEYS) {
        next if !$asked->{$key};
        my $got = $got{$key} || ($key =~ /bits/ ? 15 : 0);
        cmp_ok($got, $key =~ /bits/ ? '<=' : '==', $asked->{$key}, "$name: $key $asked->{$key}") or diag $extensions;
    }
    return;
}

sub _ended {
    my ($talk, $name) = @_;
    $talk->{conn}->close(1000);
    is_deeply($talk->next_close, [ 1000, undef ], "$name: closed");
    is($talk->{error}, undef, "$name: without an error");
    return;
}

# ---- the roles ----

# @connections: [name, URL, our option deflate, what must be agreed on].
sub with_our_client {
    my ($peer, @connections) = @_;
    subtest "our client, server: $peer" => sub {
        my $context = EV::Websockets::Context->new;
        for (@connections) {
            my ($name, $url, $deflate, $asked, $large) = @$_;
            my $talk = Interop::Talk->connect($context, url => $url, deflate => $deflate);
            is($talk->{error}, undef, "$name: connected") or next;
            _agreed($talk, $name, $asked);
            talk_deflated($talk, $name, $large);
            _ended($talk, $name);
        }
    };
    return;
}

# $start->(@urls) makes the peer connect to them in turn. The rest as above,
# without the URL.
sub with_our_server {
    my ($peer, $start, @connections) = @_;
    subtest "our server, client: $peer" => sub {
        my $context = EV::Websockets::Context->new;
        my @listeners = map { Interop::Talk::Listener->new($context, deflate => $_->[1]) } @connections;
        my $child = $start->(map { "ws://127.0.0.1:$_->{port}/" } @listeners);
        for (@connections) {
            my ($name, undef, $asked, $large) = @$_;
            my $talk = (shift @listeners)->accept;
            _agreed($talk, $name, $asked);
            talk_deflated($talk, $name, $large);
            _ended($talk, $name);
        }
    };
    return;
}

# Both roles, with a peer in a process of its own that knows every parameter:
# what we ask for, and then what the peer asks for while we are open to it.
sub both_roles {
    my ($peer, @command) = @_;
    my @settings = settings();
    my @names    = map { setting_name($_) } @settings;
    my %open     = (server_no_context_takeover => 0, client_no_context_takeover => 0);

    {
        my $server = Interop::Child->new(@command, 'server', '-', @names);
        my ($own, @url) = map { 'ws://127.0.0.1:' . ($server->next_line('port'))[0] } 0 .. @names;
        with_our_client($peer,
            [ 'defaults', $own, 1, {}, 1 ],
            (map { [ "we ask for $names[$_]", $own, $settings[$_], $settings[$_], 1 ] } 0 .. $#names),
            (map { [ "it asks for $names[$_]", $url[$_], 1, $settings[$_], 0 ] } 0 .. $#names),
        );
    }

    with_our_server(
        $peer,
        sub {
            my @urls = @_;
            my @ask = ('-', ('-') x @names, @names);
            return Interop::Child->new(@command, 'client', map { ($urls[$_], $ask[$_]) } 0 .. $#urls);
        },
        [ 'defaults', 1, { server_no_context_takeover => 1, client_no_context_takeover => 1 }, 1 ],
        (map { [ "we ask for $names[$_]", $settings[$_], $settings[$_], 1 ] } 0 .. $#names),
        (map { [ "it asks for $names[$_]", {%open}, $settings[$_], 0 ] } 0 .. $#names),
    );
    return;
}

1;
