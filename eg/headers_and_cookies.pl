#!/usr/bin/env perl
# The HTTP side of a connection: request headers, a check in on_handshake that
# may refuse, and cookies that the server sets and asks for.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

my $ctx = EV::Websockets::Context->new;
my %session;      # cookie value => user

sub cookie {
    my ($headers, $name) = @_;
    my ($value) = ($headers->{Cookie} || '') =~ /(?:\A|;\s*)\Q$name\E=([^;]*)/;
    return $value;
}

my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    max_message_size => 64 * 1024,
    headers          => { 'X-Served-By' => 'headers_and_cookies.pl' },    # on every response

    # Runs before the connection is accepted. False: 403. True: accepted. A hash
    # ref: accepted, and these headers are added to the response.
    on_handshake => sub {
        my ($headers) = @_;
        my $known = cookie($headers, 'session');
        return 1 if defined $known && $session{$known};
        return 0 unless ($headers->{Authorization} || '') eq 'Bearer let-me-in';
        my $id = sprintf '%08x', rand 0xFFFFFFFF;    # a real one comes from a secure source
        $session{$id} = 'ann';
        return { 'Set-Cookie' => "session=$id; HttpOnly" };
    },
    on_connect => sub {
        my ($c, $headers) = @_;
        my $query = defined $headers->{Query} ? $headers->{Query} : '';
        print "server: path '$headers->{Path}', query '$query', languages '$headers->{'X-Languages'}'\n";
        $c->close(1000, 'seen');
    },
);

# Three visits: with a token, with the cookie of the first visit, with nothing.
my $jar;
my @visits = (
    [ 'with a token'  => sub { { Authorization => 'Bearer let-me-in' } } ],
    [ 'with a cookie' => sub { { Cookie => $jar } } ],
    [ 'with nothing'  => sub { {} } ],
);

sub next_visit {
    my $visit = shift @visits or return EV::break;
    my ($how, $headers) = @$visit;
    print "client: comes $how\n";
    $ctx->connect(
        url => "ws://127.0.0.1:$port/a%20room?lang=en",
        # An array ref sends the header once for each value.
        headers    => { %{ $headers->() }, 'X-Languages' => [ 'en', 'fr' ] },
        on_connect => sub {
            my ($c, $response) = @_;
            print "client: accepted, served by $response->{'X-Served-By'}\n";
            return unless defined $response->{'Set-Cookie'};
            ($jar) = $response->{'Set-Cookie'} =~ /\A([^;]+)/;
            print "client: got a cookie\n";
        },
        on_close => \&next_visit,
        on_error => sub {
            my ($c, $text) = @_;
            print "client: refused: $text\n";
            next_visit();
        },
    );
}

next_visit();
EV::run;
