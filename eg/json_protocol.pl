#!/usr/bin/env perl
# Requests and answers over one connection: JSON messages with an id, so that
# many calls can be under way at once, and a subprotocol that names the format.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use Encode qw(encode);
use EV;
use EV::Websockets;
use JSON::PP;

# From characters and to characters: `utf8 => 1` below makes messages of that. Without it
# messages are bytes, and ->utf8 would encode and decode them here.
my $json = JSON::PP->new->canonical;

my %methods = do {
    use warnings FATAL => 'all';    # nonsense is to be an error answer, not a line in the log
    (   add     => sub { my $sum = 0; $sum += $_ for @_; $sum },
        reverse => sub { scalar reverse $_[0] },
        divide  => sub { $_[0] / $_[1] },
    );
};

# Whatever a client sends, it gets an answer and the server lives on.
sub answer {
    my ($text) = @_;
    my $call = eval { $json->decode($text) };
    return { id => undef, error => 'not a JSON object' } unless ref $call eq 'HASH';
    my %reply  = (id => $call->{id});
    my $name   = defined $call->{method} ? $call->{method} : '';
    my $method = $methods{$name};
    if (!$method) {
        $reply{error} = "no method '$name'";
    }
    elsif (!eval { $reply{result} = $method->(@{ $call->{params} }); 1 }) {
        ($reply{error}) = $@ =~ /\A(.*?) at /s;
    }
    return \%reply;
}

my $ctx  = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    protocol         => 'calls.example.v1',
    max_message_size => 64 * 1024,
    utf8             => 1,
    on_message       => sub {
        my ($c, $text) = @_;
        $c->send($json->encode(answer($text)));
    },
);

# The client's half: call() remembers under the id what to do with the answer.
sub call {
    my ($c, $method, $params, $done) = @_;
    my $id = ++$c->stash->{last_id};
    $c->stash->{waiting}{$id} = $done;
    $c->send($json->encode({ id => $id, method => $method, params => $params }));
}

$ctx->connect(
    url        => "ws://127.0.0.1:$port/",
    protocol   => [ 'calls.example.v2', 'calls.example.v1' ],    # best first; the server picks
    utf8       => 1,
    on_connect => sub {
        my ($c) = @_;
        print "speaking ", $c->get_protocol, "\n";
        call($c, add     => [ 1 .. 10 ],     sub { print "add:     $_[0]{result}\n" });
        call($c, reverse => ["\x{e9}t\x{e9}s"],
            sub { print 'reverse: ', encode('UTF-8', $json->encode([ $_[0]{result} ])), "\n" });
        call($c, divide  => [ 1, 0 ],        sub { print "divide:  error: $_[0]{error}\n" });
        call($c, launch  => [],              sub { print "launch:  error: $_[0]{error}\n" });
    },
    on_message => sub {
        my ($c, $text) = @_;
        my $reply   = $json->decode($text);
        my $waiting = $c->stash->{waiting};
        my $done    = delete $waiting->{ $reply->{id} } or return;
        $done->($reply);
        $c->close unless %$waiting;
    },
    on_close => sub { print "all calls are answered\n"; EV::break },
    on_error => sub { my ($c, $text) = @_; print "failed: $text\n"; EV::break },
);
EV::run;
