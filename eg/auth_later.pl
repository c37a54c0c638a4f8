#!/usr/bin/env perl
# Who may come in is known to somebody else, who takes a while to answer: the
# handshake is decided when he has. Also shown: a page for health checks on the
# same port.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

my %user_of = ('token-of-ann' => 'ann', 'token-of-bob' => 'bob');
my %lookup;    # the requests to the user database that are under way

# Stands for a database or another server: answers a moment later, sometimes a
# long one, and forgets some questions.
sub find_user {
    my ($token, $cb) = @_;
    return if $token eq 'lost';
    $lookup{$cb} = EV::timer $token eq 'slow' ? 60 : 0.05, 0, sub { delete $lookup{$cb}; $cb->($user_of{$token}) };
}

my $ctx = EV::Websockets::Context->new;
my $port = $ctx->listen(
    host              => '127.0.0.1',
    limits            => 'public',
    handshake_timeout => 0.5,    # seconds; whoever has no decision by then is answered 503
    on_handshake      => sub {
        my ($headers, $handshake) = @_;
        my ($token) = ($headers->{Authorization} || '') =~ /\ABearer (\S+)\z/
            or return [ 401, [ 'WWW-Authenticate' => 'Bearer' ], ["Who are you?\n"] ];
        # The object is kept by this closure alone. Should the lookup drop it
        # without an answer, the client is answered 500.
        find_user($token, sub {
            my ($user) = @_;
            return $handshake->reject(403, [], ["Nobody knows you.\n"]) if !defined $user;
            $handshake->stash->{user} = $user;    # the connection finds it in its own stash
            # False if the client has gone in the meantime.
            $handshake->accept({ 'X-User' => $user }) or print "server: $user did not wait\n";
        });
        return $handshake;     # later
    },
    on_request => sub {
        my ($request) = @_;
        return [ 404, [], ["not here\n"] ] if $request->{path} ne '/health';
        my $open = $ctx->connections;
        return [ 200, [ 'Content-Type' => 'text/plain' ], [ "ok, $open connections\n" ] ];
    },
    on_connect => sub { my ($c) = @_; $c->send('welcome, ' . $c->stash->{user}) },
);

my @visitors = (
    [ 'nobody'  => undef ],
    [ 'ann'     => 'token-of-ann' ],
    [ 'mallory' => 'made-up' ],
    [ 'bob'     => 'token-of-bob' ],
    [ 'carol'   => 'lost' ],
    [ 'dave'    => 'slow' ],
);

sub next_visitor {
    my $visitor = shift @visitors or return EV::break;
    my ($name, $token) = @$visitor;
    $ctx->connect(
        url        => "ws://127.0.0.1:$port/",
        headers    => defined $token ? { Authorization => "Bearer $token" } : {},
        on_connect => sub { my ($c, $headers) = @_; print "$name: let in as $headers->{'X-User'}\n" },
        on_message => sub { my ($c, $text) = @_; print "$name: $text\n"; $c->close },
        on_close   => \&next_visitor,
        on_error   => sub { my ($c, $text) = @_; print "$name: $text\n"; next_visitor() },
    );
}

print "curl http://127.0.0.1:$port/health answers while this runs\n";
next_visitor();
EV::run;
