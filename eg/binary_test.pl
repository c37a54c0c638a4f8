#!/usr/bin/env perl
# Bytes and characters: messages are bytes, text messages are UTF-8 bytes, and
# a long message can be sent in fragments.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;
use Encode qw(decode encode);

my $ctx = EV::Websockets::Context->new;

my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 1024 * 1024,
    on_message       => sub {
        my ($c, $bytes, $is_binary) = @_;
        $is_binary ? $c->send_binary($bytes) : $c->send($bytes);
    },
);

my $every_byte = join '', map { chr } 0 .. 255;
my $record     = pack 'N n a8', 0xDEADBEEF, 4711, 'label';    # 14 bytes of a binary format
my $word       = "\x{263A} na\x{EF}ve";                       # 7 characters, not yet bytes

# What is sent, and what is checked when it comes back.
my @tests = (
    {   name  => 'all 256 byte values',
        send  => sub { $_[0]->send_binary($every_byte) },
        check => sub { $_[1] && $_[0] eq $every_byte },
    },
    {   name  => 'a packed record',
        send  => sub { $_[0]->send_binary($record) },
        check => sub {
            my ($number, $short) = unpack 'N n', $_[0];
            $_[1] && $number == 0xDEADBEEF && $short == 4711;
        },
    },
    {   name => 'text, encoded and decoded',
        # send() transmits bytes: encode before, decode after, and no doubt is left.
        send  => sub { $_[0]->send(encode('UTF-8', $word)) },
        check => sub { !$_[1] && length $_[0] == 10 && decode('UTF-8', $_[0]) eq $word },
    },
    {   name => 'three fragments, one message',
        # Arguments: bytes, is it binary, is it the last one.
        send => sub {
            my ($c) = @_;
            $c->send_fragment('alpha ', 1, 0);
            $c->send_fragment('beta ',  1, 0);
            $c->send_fragment('gamma',  1, 1);
        },
        check => sub { $_[1] && $_[0] eq 'alpha beta gamma' },
    },
    {   name  => 'an empty message',
        send  => sub { $_[0]->send_binary('') },
        check => sub { $_[1] && $_[0] eq '' },
    },
);
my ($done, $good) = (0, 0);

$ctx->connect(
    url        => "ws://127.0.0.1:$port/",
    on_connect => sub { my ($c) = @_; $tests[0]{send}->($c) },
    on_message => sub {
        my ($c, $bytes, $is_binary) = @_;
        my $test = $tests[ $done++ ];
        my $ok   = $test->{check}->($bytes, $is_binary);
        $good++ if $ok;
        printf "%-28s %3d bytes %-6s %s\n", $test->{name}, length $bytes,
            $is_binary ? 'binary' : 'text', $ok ? 'as sent' : 'NOT as sent';
        $done < @tests ? $tests[$done]{send}->($c) : $c->close;
    },
    on_close => sub { EV::break },
    on_error => sub { my ($c, $text) = @_; print "failed: $text\n"; EV::break },
);
EV::run;

print "$good of ", scalar @tests, " came back as they were sent\n";
exit($good == @tests ? 0 : 1);
