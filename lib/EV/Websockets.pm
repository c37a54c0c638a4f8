package EV::Websockets;

use strict;
use warnings;
use 5.010;

use EV ();
use XSLoader ();

our $VERSION = '0.11';

XSLoader::load('EV::Websockets', $VERSION);

package EV::Websockets::Context;

# "[scheme://][userinfo@]host[:port][/...]" as ($host, $port). An address of
# IPv6 stands in brackets when a port follows. The empty list for nothing, and
# for what names no host or no possible port.
sub _parse_proxy {
    my ($proxy) = @_;
    return if !defined $proxy;

    $proxy =~ s{\A\s+|\s+\z}{}g;
    $proxy =~ s{\A[A-Za-z][A-Za-z0-9+.-]*://}{};
    $proxy =~ s{[/?#].*\z}{}s;
    $proxy =~ s{\A.*\@}{}s;    # to the last one: a password may contain one

    my ($host, $port);
    if ($proxy =~ /\A\[([^\[\]]+)\](?::([0-9]*))?\z/) {
        ($host, $port) = ($1, $2);
    }
    elsif ($proxy =~ /\A([^:\[\]\s]+)(?::([0-9]*))?\z/) {
        ($host, $port) = ($1, $2);
    }
    elsif ($proxy =~ /\A([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\z/) {
        $host = $1;
    }
    return if !defined $host;

    $port = 1080 if !defined $port || $port eq '';
    return if length $port > 5 || $port < 1 || $port > 65535;
    return ($host, $port + 0);
}

1;

__END__
